//! Images to look into: samples of a kernel's `zfs send`, and what mibe's own writer makes of folders.

#![allow(dead_code, reason = "every test file takes what it needs")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use mibe_image::file::{Compression, ImageWriter};
use mibe_image::library::{ImagePaths, publish};
use mibe_image::manifest::{ImageFile, ImageType, Manifest, Os};
use zfs_stream::read::{Filesystem, NoContents, Snapshot};
use zfs_stream::{BaseSnapshot, DirTree, StreamOptions, write_filesystem, write_incremental};

use crate::support::{World, succeed};

/// A file of the samples.
pub fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../zfs-stream/tests/samples")
        .join(name)
        .canonicalize()
        .unwrap();
    path.into_os_string().into_string().unwrap()
}

/// What is in one.
pub fn unpacked(name: &str) -> Vec<u8> {
    let output = Command::new("xz")
        .args(["-dc", &sample(name)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}");
    output.stdout
}

/// The bytes that a listing shows as text.
pub fn unescaped(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// Standard output of a command that is given `input` and must end with a status.
#[track_caller]
pub fn given(mut command: Command, input: &[u8], status: i32) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // Who does not read to the end has what it wants.
        scope.spawn(move || drop(stdin.write_all(input)));
        let mut output = Vec::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut output)
            .unwrap();
        output
    });
    assert_eq!(child.wait().unwrap().code(), Some(status), "{command:?}");
    output
}

/// A folder with files in it; a path that ends in `/` is a folder, a content that begins with `->` a link.
pub fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    for (path, content) in files {
        let at = folder.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(at).unwrap();
            continue;
        }
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        match content.strip_prefix("->") {
            Some(target) => std::os::unix::fs::symlink(target, at).unwrap(),
            None => fs::write(at, content).unwrap(),
        }
    }
    // The same times in every tree, so that they differ only where a test makes them differ.
    succeed(Command::new("find").arg(folder.path()).args([
        "-exec",
        "touch",
        "-h",
        "-d",
        "@1700000000.25",
        "{}",
        "+",
    ]));
    folder
}

/// An image that was made.
pub struct Made {
    pub manifest: Manifest,
    pub manifest_path: PathBuf,
    pub file: PathBuf,
    pub guid: u64,
}

/// A UUID that ends in a number.
pub fn uuid(number: u64) -> String {
    format!("208f9314-29cf-4bec-9d8b-{number:012x}")
}

/// Makes the image `web VERSION` of a folder, its guid being `number`, in a folder of images.
pub fn make(images: &Path, number: u64, version: &str, tree: &Path) -> Made {
    made(images, number, version, |options, out| {
        let mut tree = DirTree::new(tree).unwrap();
        write_filesystem(&mut tree, out, options, &mut |_| {}).unwrap();
        None
    })
}

/// The same as a change to another image.
pub fn change(images: &Path, number: u64, version: &str, tree: &Path, base: &Made) -> Made {
    made(images, number, version, |options, out| {
        let open = || {
            let file = fs::File::open(&base.file).unwrap();
            let stream = mibe_image::file::decompressed(file).unwrap();
            Snapshot::open([stream]).unwrap()
        };
        let files = Filesystem::read(&mut open(), &mut NoContents).unwrap();
        let snapshot = BaseSnapshot {
            files: &files,
            snapshot: open(),
            directory: b"",
            foreign: &|_| false,
        };
        let mut tree = DirTree::new(tree).unwrap();
        write_incremental(snapshot, &mut tree, out, options, &mut |_| {}).unwrap();
        Some(base.manifest.uuid.clone())
    })
}

fn made(
    images: &Path,
    number: u64,
    version: &str,
    write: impl FnOnce(&StreamOptions, &mut ImageWriter) -> Option<String>,
) -> Made {
    fs::create_dir_all(images).unwrap();
    let folder = Utf8Path::from_path(images).unwrap();
    let paths = ImagePaths::new(folder, "web", version, Compression::Gzip);
    let mut out = ImageWriter::create(&paths, "test").unwrap();
    let options = StreamOptions {
        to_name: format!("zones/web@{version}"),
        to_guid: number,
        creation_time: 1_600_000_000,
    };
    let origin = write(&options, &mut out);
    let file = out.finish().unwrap();
    let mut manifest = Manifest::new(
        uuid(number),
        "web",
        version,
        ImageType::LxDataset,
        Os::Linux,
    );
    manifest.published_at = Some("2026-01-02T03:04:05Z".to_owned());
    manifest.origin = origin;
    manifest.files = Some(vec![ImageFile::of(&file, Some(number))]);
    // imgadm wants these of an LX image.
    manifest.requirements = serde_json::from_value(serde_json::json!({
        "brand": "lx", "networks": [{"name": "net0", "description": "public"}],
    }))
    .unwrap();
    publish(file, &manifest, &paths, false).unwrap();
    Made {
        manifest,
        manifest_path: std_path(paths.manifest()),
        file: std_path(paths.file()),
        guid: number,
    }
}

fn std_path(path: &Utf8Path) -> PathBuf {
    Utf8PathBuf::from(path).into_std_path_buf()
}

impl Made {
    /// Writes its manifest again, changed.
    pub fn edit(&self, edit: impl FnOnce(&mut serde_json::Value)) {
        let mut manifest = serde_json::to_value(&self.manifest).unwrap();
        edit(&mut manifest);
        fs::write(&self.manifest_path, manifest.to_string()).unwrap();
    }
}

/// Packages of the old image.
pub const STATUS: &str = "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nInstalled-Size: 7000\n\n\
    Package: nano\nStatus: install ok installed\nVersion: 7.2\nInstalled-Size: 2800\n\n\
    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
/// Packages of the new one.
pub const NEW_STATUS: &str = "Package: bash\nStatus: install ok installed\nVersion: 5.2-2\nInstalled-Size: 7168\n\n\
    Package: nginx\nStatus: install ok installed\nVersion: 1.22\nInstalled-Size: 1500\n";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n";
/// Where services are started from.
pub const WANTS: &str = "root/etc/systemd/system/multi-user.target.wants";

/// What the older of two images holds.
pub fn old_tree() -> tempfile::TempDir {
    tree(&[
        ("root/var/lib/dpkg/status", STATUS),
        ("root/etc/passwd", PASSWD),
        ("root/etc/group", "root:x:0:\n"),
        ("root/etc/motd", "hello\n"),
        ("root/etc/removed", "12345"),
        ("root/etc/link", "->motd"),
        ("root/etc/same", "same"),
        (&format!("{WANTS}/ssh.service"), "->/lib/ssh.service"),
    ])
}

/// What the newer holds.
pub fn new_tree() -> tempfile::TempDir {
    let tree = tree(&[
        ("root/var/lib/dpkg/status", NEW_STATUS),
        (
            "root/etc/passwd",
            &format!("{PASSWD}www:x:33:33::/var/www:/bin/sh\n"),
        ),
        ("root/etc/group", "root:x:0:www\n"),
        ("root/etc/motd", "hello!\n"),
        ("root/etc/added", "1234567890"),
        ("root/etc/link", "->passwd"),
        ("root/etc/same", "same"),
        (&format!("{WANTS}/nginx.service"), "->/lib/nginx.service"),
    ]);
    let same = tree.path().join("root/etc/same");
    fs::set_permissions(&same, fs::Permissions::from_mode(0o4755)).unwrap();
    succeed(
        Command::new("touch")
            .args(["-d", "@1700000000.25"])
            .arg(&same),
    );
    // Of no interest: what only its time tells apart.
    succeed(
        Command::new("touch")
            .args(["-d", "@1800000000"])
            .arg(tree.path().join("root/etc/group")),
    );
    tree
}

/// A full image, version 1, and a change to it, version 2, in the library.
pub fn pair(world: &World) -> (Made, Made) {
    let images = world.home().join("images");
    let one = make(&images, 1, "1", old_tree().path());
    let two = change(&images, 2, "2", new_tree().path(), &one);
    (one, two)
}
