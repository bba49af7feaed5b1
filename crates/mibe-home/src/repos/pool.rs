//! Work on many repositories at once, a bounded number at each server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::repos::list::Entry;

/// Most threads of all servers together.
const THREADS: usize = 256;

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a, T> {
    /// Work on a repository begins.
    Started(&'a Entry),
    /// It is done.
    Finished(&'a Entry, &'a T),
}

struct State {
    /// Entries that nobody works on yet, the first last.
    waiting: Vec<usize>,
    active: HashMap<String, usize>,
}

/// Does `work` on each entry, at most `per_server` at once at each server: one that hangs delays nobody else's.
///
/// Results are in the order of the entries; `None` for those that were not begun when `cancel` was raised.
pub fn run<T: Send>(
    entries: &[Entry],
    per_server: usize,
    cancel: &AtomicBool,
    work: impl Fn(&Entry) -> T + Sync,
    tell: impl Fn(Step<'_, T>) + Sync,
) -> Vec<Option<T>> {
    let per_server = per_server.max(1);
    let mut at_server: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        *at_server.entry(server(&entry.url)).or_default() += 1;
    }
    let threads: usize = at_server.values().map(|&count| count.min(per_server)).sum();
    let state = Mutex::new(State {
        waiting: (0..entries.len()).rev().collect(),
        active: HashMap::new(),
    });
    let freed = Condvar::new();
    let results: Vec<Mutex<Option<T>>> = entries.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(THREADS) {
            scope.spawn(|| {
                while let Some(index) = next(entries, per_server, &state, &freed) {
                    let entry = &entries[index];
                    if !cancel.load(Ordering::SeqCst) {
                        tell(Step::Started(entry));
                        let result = work(entry);
                        tell(Step::Finished(entry, &result));
                        *results[index]
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner) = Some(result);
                    }
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(active) = state.active.get_mut(&server(&entry.url)) {
                        *active -= 1;
                    }
                    drop(state);
                    freed.notify_all();
                }
            });
        }
    });
    results
        .into_iter()
        .map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// The next entry whose server has room; waits for room, `None` when no entry is left.
fn next(
    entries: &[Entry],
    per_server: usize,
    state: &Mutex<State>,
    freed: &Condvar,
) -> Option<usize> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if state.waiting.is_empty() {
            return None;
        }
        let found = state.waiting.iter().rposition(|&index| {
            let active = state.active.get(&server(&entries[index].url));
            active.copied().unwrap_or_default() < per_server
        });
        if let Some(place) = found {
            let index = state.waiting.remove(place);
            *state.active.entry(server(&entries[index].url)).or_default() += 1;
            return Some(index);
        }
        state = freed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Host and port of a URL; one for all paths of this machine.
fn server(url: &str) -> String {
    if let Some((_, rest)) = url.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        return authority
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .to_lowercase();
    }
    let slash = url.find('/').unwrap_or(url.len());
    match url[..slash].find(':') {
        Some(colon) => {
            let host = &url[..colon];
            host.rsplit('@').next().unwrap_or_default().to_lowercase()
        }
        None => String::new(),
    }
}
