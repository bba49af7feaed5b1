//! Disks that lie: whatever is in them, looking into them ends, soon and without a panic, and takes no more memory than there is for it.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod evil;
mod samples;
mod targets;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use samples::Sample;
use targets::{TARGETS, Target};

/// What all of these tests together may take of memory, in bytes, with the stacks and arenas of their threads: an allocation of what a disk claims, and not
/// of what it holds, would be beyond it, and ends the process.
const MEMORY: u64 = 2 << 30;

/// Longest that a case may take, on a busy machine: alone, none takes two seconds.
const LONG: Duration = Duration::from_secs(60);

fn bounded() {
    let limit = Rlimit {
        current: Some(MEMORY),
        ..getrlimit(Resource::As)
    };
    setrlimit(Resource::As, limit).unwrap();
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// What is being tried: what a panic or an endless loop is repeated with.
#[derive(Default)]
struct Watch(Arc<Mutex<Option<Case>>>);

/// When a case was begun, its target, its input.
type Case = (Instant, &'static str, Vec<u8>);

impl Watch {
    /// Ends the process when a case has no end.
    fn start() -> Self {
        let watch = Self::default();
        let current = Arc::clone(&watch.0);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                if let Some((started, target, bytes)) = &*current.lock().unwrap()
                    && started.elapsed() > 3 * LONG
                {
                    let kept = keep(target, bytes);
                    let _ = writeln!(io::stderr(), "{target} has no end with {kept}");
                    std::process::abort();
                }
            }
        });
        watch
    }

    fn run(&self, name: &'static str, target: Target, bytes: &[u8]) {
        *self.0.lock().unwrap() = Some((Instant::now(), name, bytes.to_vec()));
        let outcome = std::panic::catch_unwind(|| target(bytes));
        let (started, ..) = self.0.lock().unwrap().take().unwrap();
        let took = started.elapsed();
        assert!(
            outcome.is_ok() && took < LONG,
            "{name} took {took:?} with {}",
            keep(name, bytes)
        );
    }
}

/// Keeps an input for whoever mends it.
fn keep(target: &str, bytes: &[u8]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{target}"));
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

fn target(sample: &Sample) -> Target {
    let found = TARGETS.iter().find(|(name, _)| *name == sample.target);
    found.expect("a target").1
}

/// The samples as they are; `MIBE_FUZZ_CORPUS` has them kept there for cargo-fuzz.
#[test]
fn what_is_sound() {
    bounded();
    let watch = Watch::start();
    let corpus = std::env::var_os("MIBE_FUZZ_CORPUS");
    for sample in samples::all() {
        watch.run(sample.target, target(&sample), &sample.bytes);
        if let Some(corpus) = &corpus {
            let folder = Path::new(corpus).join(sample.target);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(&sample.name), &sample.bytes).unwrap();
        }
    }
    for (name, target) in TARGETS {
        watch.run(name, target, &[]);
        watch.run(name, target, &[0xFF; 4096]);
    }
}

#[test]
fn cut_anywhere() {
    bounded();
    let watch = Watch::start();
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for sample in samples::all() {
        for _ in 0..60 {
            let place = &sample.places[random.below(sample.places.len())];
            let end = place.start + random.below(place.len());
            watch.run(sample.target, target(&sample), &sample.bytes[..end]);
        }
    }
}

/// Seconds that the next test may take: some, or with `cargo xtask test --slow` many.
fn seconds() -> u64 {
    if std::env::var_os("MIBE_SLOW_TESTS").is_some() {
        600
    } else {
        20
    }
}

/// Numbers that parsers stumble over.
const NUMBERS: [u64; 10] = [
    0,
    1,
    2,
    0x7F,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    1 << 40,
    u64::MAX >> 1,
    u64::MAX,
];

#[test]
fn changed_anywhere() {
    bounded();
    let watch = Watch::start();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let samples = samples::all();
    let (start, mut cases) = (Instant::now(), 0);
    let seconds = Duration::from_secs(seconds());
    while start.elapsed() < seconds || cases < 300 {
        let sample = &samples[random.below(samples.len())];
        let other = &samples[random.below(samples.len())].bytes;
        let mut bytes = sample.bytes.clone();
        for _ in 0..=random.below(5) {
            let place = &sample.places[random.below(sample.places.len())];
            let at = place.start + random.below(place.len());
            let rest = bytes.len() - at;
            match random.below(6) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes[at] ^= 1 << random.below(8),
                kind @ 2..=3 => {
                    let number = NUMBERS[random.below(NUMBERS.len())];
                    let length = [2, 4, 8][random.below(3)].min(rest);
                    let digits = if kind == 2 {
                        number.to_le_bytes()
                    } else {
                        number.to_be_bytes()
                    };
                    let digits = if kind == 2 {
                        &digits[..length]
                    } else {
                        &digits[8 - length..]
                    };
                    bytes[at..at + length].copy_from_slice(digits);
                }
                // What is elsewhere in it: entries that lead to what others lead to.
                4 => {
                    let length = [4, 8, 16, 64][random.below(4)].min(rest);
                    let from = &sample.places[random.below(sample.places.len())];
                    let from = from.start.min(bytes.len() - length);
                    bytes.copy_within(from..from + length, at);
                }
                _ => {
                    let length = (1 + random.below(64)).min(rest).min(other.len());
                    let from = random.below(other.len() - length + 1);
                    bytes[at..at + length].copy_from_slice(&other[from..from + length]);
                }
            }
        }
        watch.run(sample.target, target(sample), &bytes);
        cases += 1;
    }
    println!("{cases} cases");
}
