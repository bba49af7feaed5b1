//! Finding images in several folders.

use std::process::Command;

use mibe_image::Error;
use mibe_image::open::{Image, Libraries};

use crate::support::{Folder, manifest, stream, uuid};

fn libraries(folders: &[&Folder]) -> Libraries {
    Libraries::new(folders.iter().map(|folder| folder.path().to_owned()))
}

/// The stem of the image's manifest.
fn stem(image: &Image) -> &str {
    image.manifest_path().unwrap().file_stem().unwrap()
}

fn found(libraries: &Libraries, argument: &str) -> String {
    match Image::open(argument, libraries) {
        Ok(image) => stem(&image).to_owned(),
        Err(error) => panic!("{argument}: {error}"),
    }
}

#[test]
fn images_are_found_by_uuid_and_by_name() {
    let (one, other) = (Folder::new(), Folder::new());
    one.image("first", &manifest(1, "base", "1.0"), &stream(1));
    one.image("second", &manifest(2, "base", "2.0"), &stream(2));
    other.image("third", &manifest(3, "web server/x", "1-2"), &stream(3));
    let both = libraries(&[&one, &other]);
    assert_eq!(found(&both, &uuid(1)), "first");
    assert_eq!(found(&both, &uuid(3).to_uppercase()), "third");
    assert_eq!(found(&both, "base@2.0"), "second");
    assert_eq!(found(&both, "base-1.0"), "first");
    assert_eq!(found(&both, "web server/x"), "third");
    assert_eq!(found(&both, "web server/x@1-2"), "third");
    assert_eq!(found(&both, "web server/x-1-2"), "third");
    match Image::open("base", &both).unwrap_err() {
        Error::Ambiguous { candidates, .. } => {
            assert_eq!(candidates.len(), 2);
            assert!(candidates[0].contains(&uuid(1)) && candidates[0].contains("base@1.0"));
        }
        error => panic!("{error}"),
    }
    for argument in ["base@3", "bas", "base-1", "base@", "", &uuid(9)] {
        match Image::open(argument, &both).unwrap_err() {
            Error::NoImage {
                folders, broken, ..
            } => {
                assert_eq!((folders.len(), broken.len()), (2, 0));
            }
            error => panic!("{argument}: {error}"),
        }
    }
    let path = one.path().join("first.zfs.gz");
    assert_eq!(found(&both, path.as_str()), "first");
}

#[test]
fn one_name_and_version_may_be_written_in_two_ways() {
    let folder = Folder::new();
    folder.image("first", &manifest(1, "base-64", "1"), &stream(1));
    assert_eq!(found(&libraries(&[&folder]), "base-64"), "first");
    folder.image("second", &manifest(2, "base", "64"), &stream(2));
    let libraries = libraries(&[&folder]);
    let error = Image::open("base-64", &libraries).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
    assert_eq!(found(&libraries, "base-64@1"), "first");
    assert_eq!(found(&libraries, "base@64"), "second");
}

#[test]
fn the_first_folder_counts_and_then_the_newest_image() {
    let (one, other) = (Folder::new(), Folder::new());
    let mut image = manifest(1, "base", "1.0");
    image.published_at = Some("2020-01-01T00:00:00Z".to_owned());
    one.image("copy", &image, &stream(1));
    image.published_at = Some("2024-01-01T00:00:00Z".to_owned());
    other.image("other-copy", &image, &stream(1));
    assert_eq!(found(&libraries(&[&one, &other]), &uuid(1)), "copy");
    assert_eq!(found(&libraries(&[&one, &other]), "base@1.0"), "copy");
    assert_eq!(found(&libraries(&[&other, &one]), "base"), "other-copy");
    assert_eq!(libraries(&[&one, &other]).list().images.len(), 2);

    other.image("undated", &manifest(2, "base", "1.0"), &stream(2));
    assert_eq!(found(&libraries(&[&one, &other]), "base"), "copy");
    let mut newer = manifest(3, "base", "1.0");
    newer.published_at = Some("2020-01-01T00:00:00.001Z".to_owned());
    other.image("newer", &newer, &stream(3));
    assert_eq!(found(&libraries(&[&one, &other]), "base-1.0"), "newer");
    newer.uuid = uuid(4);
    other.image("as-new", &newer, &stream(4));
    match Image::open("base@1.0", &libraries(&[&one, &other])).unwrap_err() {
        Error::Ambiguous { candidates, .. } => assert_eq!(candidates.len(), 4),
        error => panic!("{error}"),
    }
}

#[test]
fn broken_images_are_told_and_stop_nobody() {
    let folder = Folder::new();
    folder.image("good", &manifest(1, "good", "1"), &stream(1));
    folder.manifest("alone.json", &manifest(2, "alone", "1"));
    folder.write("bad.imgmanifest", b"{");
    folder.write("bad.zfs.gz", b"");
    folder.write("orphan.zfs.xz", b"");
    folder.write(".hidden.json", b"");
    folder.write("notes.txt", b"");
    let pipe = folder.path().join("pipe.json");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.json")).unwrap();
    let file = folder.write("file", b"");
    let libraries = Libraries::new([
        folder.path().join("missing"),
        folder.path().to_owned(),
        file,
    ]);
    let listing = libraries.list();
    let names: Vec<_> = listing
        .images
        .iter()
        .map(|image| image.path().unwrap().file_name().unwrap())
        .collect();
    assert_eq!(names, ["good.zfs.gz", "orphan.zfs.xz"]);
    assert!(listing.images[1].manifest().is_none());
    let broken: Vec<_> = listing
        .broken
        .iter()
        .map(|broken| broken.path.file_name().unwrap())
        .collect();
    assert_eq!(
        broken,
        [
            "alone.json",
            "bad.imgmanifest",
            "dangling.json",
            "pipe.json",
            "file"
        ]
    );
    assert!(listing.broken[0].manifest.is_some());
    assert!(matches!(listing.broken[1].error, Error::Json { .. }));

    assert_eq!(found(&libraries, "good"), "good");
    // What is known of a broken image is told rather than that it is not there.
    for argument in ["alone", &uuid(2)] {
        let error = Image::open(argument, &libraries).unwrap_err();
        assert!(matches!(error, Error::NoFile { .. }), "{error}");
    }
    let error = Image::open("bad", &libraries).unwrap_err();
    assert!(
        error.to_string().contains("4 more can't be read"),
        "{error}"
    );
    assert!(error.hints().iter().any(|hint| hint.contains("missing")));
}

#[test]
fn a_broken_copy_gives_way_to_a_whole_one() {
    let (one, other) = (Folder::new(), Folder::new());
    one.manifest("copy.json", &manifest(1, "base", "1"));
    other.image("whole", &manifest(1, "base", "1"), &stream(1));
    assert_eq!(found(&libraries(&[&one, &other]), &uuid(1)), "whole");
    assert_eq!(found(&libraries(&[&one, &other]), "base"), "whole");
}

/// Manifests are read before their rules are checked: nothing of them may steer a terminal.
#[test]
fn names_are_fit_for_terminals() {
    let folder = Folder::new();
    folder.image("a", &manifest(1, "a\u{1b}[2J", "1"), &stream(1));
    let image = Image::open(&uuid(1), &libraries(&[&folder])).unwrap();
    assert!(!image.to_string().contains('\u{1b}'));
}
