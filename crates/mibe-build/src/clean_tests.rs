//! What a clean-up takes away, and what it leaves.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

use std::fs::File;

use super::*;
use crate::journal::Publication;

fn paths(folder: &Path) -> Paths {
    Paths {
        cache: folder.join("cache"),
        state: folder.join("state"),
    }
}

const OPTIONS: CleanOptions = CleanOptions {
    caches: Caches::Keep,
    kept: false,
    dry_run: false,
};

fn with_means(paths: &Paths, options: CleanOptions) -> Result<Cleaned, BuildError> {
    let means = Means {
        agent: &Agent::current(),
        connect: &|_| Ok(None),
        timeout: Duration::from_secs(10),
    };
    clean(paths, &means, options)
}

fn cleaned(paths: &Paths) -> Cleaned {
    with_means(paths, OPTIONS).unwrap()
}

fn entry(paths: &Paths) -> Entry {
    Entry::new("local", &paths.machines(), "test")
}

#[test]
fn a_journal_that_names_other_things_destroys_none() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    let precious = folder.path().join("precious");
    fs::create_dir_all(precious.join("data")).unwrap();
    fs::create_dir_all(paths.machines()).unwrap();
    let journal = Journal::new(paths.journal());
    for directory in [
        precious.clone(),
        paths.machines().join(".."),
        paths.machines(),
        PathBuf::from("/"),
        paths.machines().join("x/../../../precious"),
    ] {
        let mut entry = entry(&paths);
        entry.directory = directory;
        drop(journal.begin(entry).unwrap());
    }
    let file = precious.join("file");
    fs::write(&file, "x").unwrap();
    let mut record = journal.begin(entry(&paths)).unwrap();
    record.add_partial(&file).unwrap();
    drop(record);
    let mut record = journal.begin(entry(&paths)).unwrap();
    record
        .publish(Publication {
            file: file.clone(),
            manifest: precious.join("x.json"),
        })
        .unwrap();
    drop(record);

    let cleaned = cleaned(&paths);
    assert_eq!(cleaned.failed.len(), 7, "{cleaned:?}");
    assert!(cleaned.machines.is_empty());
    assert!(file.exists() && precious.join("data").exists() && paths.machines().exists());
}

#[test]
fn a_file_whose_manifest_never_came_goes_and_a_whole_image_stays() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    let journal = Journal::new(paths.journal());
    for name in ["half", "whole"] {
        let image = Publication {
            file: folder.path().join(format!("{name}-1.zfs.gz")),
            manifest: folder.path().join(format!("{name}-1.json")),
        };
        fs::write(&image.file, "x").unwrap();
        if name == "whole" {
            fs::write(&image.manifest, "{}").unwrap();
        }
        let mut record = journal.begin(entry(&paths)).unwrap();
        record.publish(image).unwrap();
    }
    assert_eq!(
        cleaned(&paths).partials,
        [folder.path().join("half-1.zfs.gz")]
    );
    assert!(!folder.path().join("half-1.zfs.gz").exists());
    assert!(folder.path().join("whole-1.zfs.gz").exists());
}

#[test]
fn a_kept_machine_goes_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    let entry = entry(&paths);
    let directory = entry.directory.clone();
    fs::create_dir_all(&directory).unwrap();
    let journal = Journal::new(paths.journal());
    journal.begin(entry).unwrap().keep().unwrap();
    assert_eq!(cleaned(&paths).kept.len(), 1);
    assert!(directory.exists());
    let options = CleanOptions {
        kept: true,
        ..OPTIONS
    };
    let cleaned = with_means(&paths, options).unwrap();
    assert_eq!(cleaned.machines.len(), 1);
    assert!(!directory.exists());
}

#[test]
fn what_a_kill_left_goes_once_nobody_uses_the_caches() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    let debs = paths.cache.join("debs");
    let probe = paths.machines().join(".probe-1-1");
    for folder in [&debs, &probe, &paths.journal()] {
        fs::create_dir_all(folder).unwrap();
    }
    let left = [
        debs.join(".partial-x"),
        paths.journal().join(".entry"),
        probe,
    ];
    File::create(&left[0]).unwrap();
    File::create(&left[1]).unwrap();
    File::create(debs.join("whole.deb")).unwrap();
    let all = CleanOptions {
        caches: Caches::All,
        ..OPTIONS
    };
    let in_use = paths.use_cache().unwrap();
    let cleaned = with_means(&paths, all).unwrap();
    assert!(cleaned.caches_in_use && cleaned.partials.is_empty());
    assert!(left.iter().all(|path| path.exists()));
    drop(in_use);
    let cleaned = with_means(&paths, all).unwrap();
    assert_eq!(cleaned.partials.len(), 3);
    assert_eq!(cleaned.caches.len(), 1);
    assert!(!left.iter().any(|path| path.exists()));
}
