//! zfs(8) and zpool(8), as far as tools call them.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use zfs_stream::read::{Filesystem, NoContents, Snapshot};
use zfs_stream::{BaseSnapshot, DirTree, StreamOptions, write_filesystem, write_incremental};

use crate::state::{Host, State};
use crate::{Done, Failure};

/// Bytes that the pool has left.
const AVAILABLE: u64 = 400 << 30;

pub fn zpool(host: &Host, words: &[&str]) -> Done {
    match words {
        ["list", "-H", "-o", "health", pool] => {
            if host.lock().state.datasets.contains_key(*pool) {
                println!("ONLINE");
                Ok(())
            } else {
                Err(Failure::new(format!("cannot open '{pool}': no such pool")))
            }
        }
        _ => Err(Failure::usage(
            "usage:\n\tzpool list [-Hp] [-o property[,...]] [pool] ...",
        )),
    }
}

fn absent(name: &str) -> Failure {
    // Of snapshots, too.
    Failure::new(format!("cannot open '{name}': dataset does not exist"))
}

pub fn zfs(host: &Host, words: &[&str]) -> Done {
    match words {
        ["get", "-H", "-p", "-o", "value", property, name] => get(host, property, name),
        ["set", assignment, name] => set(host, assignment, name),
        ["snapshot", name] => snapshot(host, name),
        ["destroy", "-r", name] => destroy(host, name, true),
        ["destroy", name] => destroy(host, name, false),
        ["send", name] => send(host, None, name),
        ["send", "-i", origin, name] => send(host, Some(origin), name),
        _ => Err(Failure::usage(format!(
            "unrecognized command or options: {words:?}\nusage: zfs command args ..."
        ))),
    }
}

fn get(host: &Host, property: &str, name: &str) -> Done {
    let locked = host.lock();
    let (dataset, snapshot) = match name.split_once('@') {
        Some((dataset, snapshot)) => (dataset, Some(snapshot)),
        None => (name, None),
    };
    let found = locked
        .state
        .datasets
        .get(dataset)
        .ok_or_else(|| absent(name))?;
    let value = match (snapshot, property) {
        (Some(snapshot), "guid") => found
            .snapshots
            .get(snapshot)
            .ok_or_else(|| absent(name))?
            .to_string(),
        (Some(snapshot), _) if !found.snapshots.contains_key(snapshot) => return Err(absent(name)),
        (_, "name") => name.to_owned(),
        (None, "available") => AVAILABLE.to_string(),
        (None, "origin") => found
            .properties
            .get("origin")
            .cloned()
            .unwrap_or_else(|| "-".to_owned()),
        // User properties have a colon, and are "-" where they are not set.
        (_, property) if property.contains(':') => found
            .properties
            .get(property)
            .cloned()
            .unwrap_or_else(|| "-".to_owned()),
        _ => {
            return Err(Failure::usage(format!(
                "bad property list: invalid property '{property}'"
            )));
        }
    };
    println!("{value}");
    Ok(())
}

fn set(host: &Host, assignment: &str, name: &str) -> Done {
    let (property, value) = assignment
        .split_once('=')
        .ok_or_else(|| Failure::usage("missing property=value argument"))?;
    if !property.contains(':') {
        return Err(Failure::new(format!(
            "cannot set property for '{name}': invalid property '{property}'"
        )));
    }
    let mut locked = host.lock();
    let dataset = locked
        .state
        .datasets
        .get_mut(name)
        .ok_or_else(|| absent(name))?;
    dataset
        .properties
        .insert(property.to_owned(), value.to_owned());
    locked.save();
    Ok(())
}

fn snapshot(host: &Host, name: &str) -> Done {
    let (dataset, label) = name
        .split_once('@')
        .ok_or_else(|| Failure::usage("cannot create snapshot: missing '@' delimiter"))?;
    let mut locked = host.lock();
    let found = locked
        .state
        .datasets
        .get_mut(dataset)
        .ok_or_else(|| absent(dataset))?;
    if found.snapshots.contains_key(label) {
        return Err(Failure::new(format!(
            "cannot create snapshot '{name}': dataset already exists"
        )));
    }
    let guid = uuid::Uuid::new_v4().as_u64_pair().0;
    found.snapshots.insert(label.to_owned(), guid);
    copy_dataset(&host.mountpoint(dataset), &host.snapshot(name));
    locked.save();
    Ok(())
}

/// What the sandbox keeps beside a zone's tree is no part of the dataset.
const OF_THE_SANDBOX: &[&str] = &["sandbox.json", "ledger", "ledger.new", "resolv-made"];

/// Copies a directory with all that it is.
pub fn copy_dataset(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
    for name in OF_THE_SANDBOX {
        let _ = fs::remove_file(to.join(name));
    }
}

fn destroy(host: &Host, name: &str, recursive: bool) -> Done {
    let mut locked = host.lock();
    if let Some((dataset, label)) = name.split_once('@') {
        let found = locked
            .state
            .datasets
            .get_mut(dataset)
            .ok_or_else(|| absent(name))?;
        found.snapshots.remove(label).ok_or_else(|| {
            Failure::new("could not find any snapshots to destroy; check snapshot names.")
        })?;
        let _ = fs::remove_dir_all(host.snapshot(name));
        locked.save();
        return Ok(());
    }
    if !locked.state.datasets.contains_key(name) {
        return Err(absent(name));
    }
    // The zone that lives there holds it.
    if locked
        .state
        .vms
        .iter()
        .any(|(uuid, vm)| name.ends_with(uuid.as_str()) && vm.state == "running")
    {
        return Err(Failure::new(format!(
            "cannot destroy '{name}': dataset is busy"
        )));
    }
    remove(host, &mut locked.state, name, recursive)?;
    locked.save();
    Ok(())
}

/// Takes a dataset away with its snapshots and children.
pub fn remove(host: &Host, state: &mut State, name: &str, recursive: bool) -> Done {
    let below = format!("{name}/");
    let children: Vec<String> = state
        .datasets
        .keys()
        .filter(|other| other.starts_with(&below))
        .cloned()
        .collect();
    let labels: Vec<String> = state.datasets[name].snapshots.keys().cloned().collect();
    if !recursive && (!children.is_empty() || !labels.is_empty()) {
        return Err(Failure::new(format!(
            "cannot destroy '{name}': filesystem has children\nuse '-r' to destroy the following datasets:"
        )));
    }
    let of_it = format!("{name}@");
    if let Some((clone, _)) = state.datasets.iter().find(|(_, other)| {
        other
            .properties
            .get("origin")
            .is_some_and(|origin| origin.starts_with(&of_it))
    }) {
        return Err(Failure::new(format!(
            "cannot destroy '{name}': filesystem has dependent clones\nuse '-R' to destroy the following datasets:\n{clone}"
        )));
    }
    for child in children.iter().map(String::as_str).chain([name]) {
        state.datasets.remove(child).unwrap();
        // By their names: a real snapshot is taken whole or not at all, and here the copy of one may have been cut short.
        let of_it = host.snapshot(&format!("{child}@"));
        for entry in fs::read_dir(host.path("snapshots"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path.to_str().unwrap().starts_with(of_it.to_str().unwrap()) {
                let _ = fs::remove_dir_all(path);
            }
        }
    }
    let _ = fs::remove_dir_all(host.mountpoint(name));
    Ok(())
}

fn send(host: &Host, origin: Option<&str>, name: &str) -> Done {
    let guid = {
        let locked = host.lock();
        let (dataset, label) = name
            .split_once('@')
            .ok_or_else(|| Failure::new(format!("cannot send '{name}': not a snapshot")))?;
        let found = locked
            .state
            .datasets
            .get(dataset)
            .ok_or_else(|| absent(name))?;
        if let Some(origin) = origin
            && found.properties.get("origin").map(String::as_str) != Some(origin)
        {
            return Err(Failure::new(format!(
                "cannot send '{name}': not an earlier snapshot from the same fs"
            )));
        }
        *found.snapshots.get(label).ok_or_else(|| absent(name))?
    };
    let mut tree = DirTree::new(&host.snapshot(name)).unwrap();
    let options = StreamOptions {
        to_name: name.to_owned(),
        to_guid: guid,
        creation_time: u64::try_from(crate::state::now() / 1000).unwrap(),
    };
    let out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let written = match origin {
        None => {
            let mut out = out;
            write_filesystem(&mut tree, &mut out, &options, &mut |_| {})
                .map(drop)
                .map_err(|error| error.to_string())
                .and_then(|()| out.flush().map_err(|error| error.to_string()))
        }
        Some(origin) => {
            let image = origin.split(['/', '@']).nth(1).unwrap();
            let open = || Snapshot::open([fs::File::open(host.stream(image)).unwrap()]).unwrap();
            let files = Filesystem::read(&mut open(), &mut NoContents).unwrap();
            let base = BaseSnapshot {
                files: &files,
                snapshot: open(),
                directory: b"",
                foreign: &|_| false,
            };
            write_incremental(base, &mut tree, out, &options, &mut |_| {})
                .map(drop)
                .map_err(|error| error.to_string())
        }
    };
    written.map_err(|error| Failure::new(format!("warning: cannot send '{name}': {error}")))
}
