//! What incremental images stand on.

use camino::Utf8PathBuf;
use mibe_image::Error;
use mibe_image::manifest::{FileCompression, Manifest};
use mibe_image::open::{Image, Libraries};

use crate::support::{Folder, change, labelled, manifest, stream, through, uuid};

/// The manifest of an image that has an origin.
fn upon(number: u64, origin: u64) -> Manifest {
    let mut manifest = manifest(number, "x", &number.to_string());
    manifest.origin = Some(uuid(origin));
    manifest
}

/// A base (guid 1), a change to it (2), and a change to that (3), by UUIDs of the same numbers.
fn three() -> Folder {
    let folder = Folder::new();
    folder.image("c", &manifest(1, "x", "1"), &stream(1));
    folder.image("b", &upon(2, 1), &change(2, 1));
    folder.image("a", &upon(3, 2), &change(3, 2));
    folder
}

fn libraries(folder: &Folder) -> Libraries {
    Libraries::new([folder.path().to_owned()])
}

fn chain(libraries: &Libraries, image: &Image, extras: &[Utf8PathBuf]) -> Result<Vec<u64>, Error> {
    let chain = libraries.chain(image, extras)?;
    let guids = chain.iter().map(|image| image.header().unwrap().to_guid);
    Ok(guids.collect())
}

#[test]
fn chains_go_down_to_the_full_image() {
    let folder = three();
    let libraries = libraries(&folder);
    for (number, expected) in [(1, &[1][..]), (2, &[1, 2]), (3, &[1, 2, 3])] {
        let image = Image::open(&uuid(number), &libraries).unwrap();
        assert_eq!(chain(&libraries, &image, &[]).unwrap(), expected);
    }
    // Without a manifest, from a pipe.
    let image = Image::from_reader("-", std::io::Cursor::new(change(9, 3)));
    assert_eq!(chain(&libraries, &image, &[]).unwrap(), [1, 2, 3, 9]);
    assert!(image.stream().is_ok());
}

#[test]
fn origins_are_found_by_guid_too() {
    let folder = Folder::new();
    // A manifest that lies, one that is silent, and none.
    folder.image(
        "liar",
        &labelled(8, FileCompression::Gzip, Some(1)),
        &stream(5),
    );
    folder.image("silent", &manifest(7, "silent", "1"), &stream(1));
    folder.write("orphan.zfs.xz", &through("xz", &["-0c"], &change(2, 1)));
    folder.write("damaged.zfs", b"no stream");
    folder.image("a", &upon(3, 99), &change(3, 2));
    let libraries = libraries(&folder);
    let image = Image::open(&uuid(3), &libraries).unwrap();
    assert_eq!(chain(&libraries, &image, &[]).unwrap(), [1, 2, 3]);
    folder.image(
        "told",
        &labelled(6, FileCompression::Gzip, Some(2)),
        &change(2, 1),
    );
    let images = libraries.chain(&image, &[]).unwrap();
    assert!(images[1].path().unwrap().ends_with("told.zfs.gz"));
}

#[test]
fn extra_origins_come_first_in_any_order() {
    let (folder, elsewhere) = (three(), three());
    let image = Image::at(&folder.path().join("a.json")).unwrap();
    let empty = Libraries::default();
    let path = |name: &str| elsewhere.path().join(name);
    for extras in [["b.json", "c.zfs.gz"], ["c.json", "b.zfs.gz"]] {
        let extras = extras.map(path);
        let images = empty.chain(&image, &extras).unwrap();
        assert_eq!(images.len(), 3);
        let images = libraries(&folder).chain(&image, &extras).unwrap();
        assert!(
            images[..2]
                .iter()
                .all(|image| image.path().unwrap().starts_with(elsewhere.path()))
        );
    }
    // Streams alone, told by their guids; one of no use.
    for name in ["b.json", "c.json", "a.json"] {
        std::fs::remove_file(path(name)).unwrap();
    }
    let extras = ["a.zfs.gz", "c.zfs.gz", "b.zfs.gz"].map(path);
    assert_eq!(chain(&empty, &image, &extras).unwrap(), [1, 2, 3]);
    // One that isn't there is not passed over.
    let error = empty.chain(&image, &[path("missing.json")]).unwrap_err();
    assert!(error.to_string().contains("missing.json"));
}

#[test]
fn a_missing_origin_is_named() {
    let folder = three();
    let remove = |name: &str| std::fs::remove_file(folder.path().join(name)).unwrap();
    remove("c.zfs.gz");
    let libraries = libraries(&folder);
    let image = Image::open(&uuid(3), &libraries).unwrap();
    // There, but broken.
    let error = libraries.chain(&image, &[]).unwrap_err();
    assert!(matches!(error, Error::NoFile { .. }), "{error}");
    remove("c.json");
    let error = libraries.chain(&image, &[]).unwrap_err();
    let (text, hints) = (error.to_string(), error.hints().join("\n"));
    assert!(
        text.starts_with("x@2 (") && text.contains(&uuid(1)),
        "{text}"
    );
    assert!(text.contains("guid 1"), "{text}");
    assert!(
        hints.contains("--origin FILE") && hints.contains(folder.path().as_str()),
        "{hints}"
    );
    assert!(
        hints.contains(&format!("imgadm export {}", uuid(1))),
        "{hints}"
    );
    remove("b.json");
    let error = chain(&libraries, &image, &[]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoOrigin {
                uuid: None,
                guid: 1,
                ..
            }
        ),
        "{error:?}"
    );
    // What is no UUID does not get into what users are told to run.
    let mut hostile = upon(4, 1);
    hostile.origin = Some("; rm -rf /".to_owned());
    let text = folder.image("hostile", &hostile, &change(4, 77));
    let error = libraries
        .chain(&Image::at(&text).unwrap(), &[])
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoOrigin {
                uuid: None,
                guid: 77,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn an_origin_of_another_guid_is_refused() {
    let folder = three();
    folder.image("c", &manifest(1, "x", "1"), &stream(55));
    let libraries = libraries(&folder);
    let image = Image::open(&uuid(3), &libraries).unwrap();
    match libraries.chain(&image, &[]).unwrap_err() {
        Error::WrongOrigin {
            wanted,
            found,
            origin,
            ..
        } => {
            assert_eq!((wanted, found), (1, 55));
            assert!(origin.contains("c.zfs.gz"), "{origin}");
        }
        error => panic!("{error}"),
    }
    let right = three();
    let extra = right.path().join("c.json");
    assert_eq!(chain(&libraries, &image, &[extra]).unwrap(), [1, 2, 3]);
}

#[test]
fn circles_end() {
    // By guid, by UUID, and an image that is its own origin.
    let cases: [[(Manifest, Vec<u8>); 2]; 3] = [
        [
            (manifest(1, "x", "1"), change(1, 2)),
            (manifest(2, "x", "2"), change(2, 1)),
        ],
        [(upon(1, 2), change(1, 2)), (upon(2, 1), change(2, 5))],
        [
            (upon(1, 1), change(1, 1)),
            (manifest(2, "x", "2"), stream(2)),
        ],
    ];
    for images in cases {
        let folder = Folder::new();
        for (manifest, stream) in &images {
            folder.image(&manifest.version, manifest, stream);
        }
        let libraries = libraries(&folder);
        let image = Image::open(&uuid(1), &libraries).unwrap();
        match libraries.chain(&image, &[]).unwrap_err() {
            Error::OriginLoop { images } => {
                assert!(images.len() > 1);
                assert_eq!(images.first(), images.last());
            }
            error => panic!("{error}"),
        }
    }
}

/// A full stream stands on nothing, whatever its manifest says.
#[test]
fn a_full_stream_needs_no_origin() {
    let folder = Folder::new();
    let text = folder.image("a", &upon(1, 2), &stream(1));
    let image = Image::at(&text).unwrap();
    assert_eq!(chain(&Libraries::default(), &image, &[]).unwrap(), [1]);
}

#[test]
fn a_damaged_origin_is_said() {
    let folder = three();
    folder.write("c.zfs.gz", b"\x1f\x8bgarbage");
    let libraries = libraries(&folder);
    let image = Image::open(&uuid(2), &libraries).unwrap();
    let error = libraries.chain(&image, &[]).unwrap_err();
    assert!(error.to_string().contains("c.zfs.gz"), "{error}");
}
