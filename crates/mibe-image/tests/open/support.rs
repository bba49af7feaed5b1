//! Folders, streams and images to open.

use std::fs;
use std::io::{Read, Write as _};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use mibe_image::manifest::{FileCompression, ImageFile, ImageType, Manifest, Os};
use zfs_stream::{DirTree, StreamOptions, write_filesystem};

/// Program, options, and what its files are called.
pub const COMPRESSORS: &[(&str, &[&str], &str)] = &[
    ("gzip", &["-9"], "zfs.gz"),
    ("bzip2", &[], "zfs.bz2"),
    ("xz", &["-0"], "zfs.xz"),
    (
        "xz",
        &["-0", "--check=crc32", "--block-size=4096"],
        "zfs.xz",
    ),
    ("zstd", &["-q"], "zfs.zst"),
    ("pzstd", &["-q"], "zfs.zst"),
    ("zstd", &["-q", "--long=27"], "zfs.zst"),
    ("cat", &[], "zfs"),
];

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> Utf8PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes an image; the manifest's path.
    pub fn image(&self, stem: &str, manifest: &Manifest, stream: &[u8]) -> Utf8PathBuf {
        self.write(&format!("{stem}.zfs.gz"), &through("gzip", &["-c"], stream));
        self.manifest(&format!("{stem}.json"), manifest)
    }

    pub fn manifest(&self, name: &str, manifest: &Manifest) -> Utf8PathBuf {
        self.write(name, manifest.to_json().unwrap().as_bytes())
    }
}

/// A UUID that ends in a number.
pub fn uuid(number: u64) -> String {
    format!("208f9314-29cf-4bec-9d8b-{number:012x}")
}

pub fn manifest(number: u64, name: &str, version: &str) -> Manifest {
    Manifest::new(uuid(number), name, version, ImageType::LxDataset, Os::Linux)
}

/// A manifest that says something of its file.
pub fn labelled(number: u64, compression: FileCompression, guid: Option<u64>) -> Manifest {
    let mut manifest = manifest(number, "labelled", "1");
    manifest.files = Some(vec![ImageFile {
        sha1: "0".repeat(40),
        size: 1,
        compression,
        dataset_guid: guid.map(|guid| guid.to_string()),
        md5: None,
        other: serde_json::Map::new(),
    }]);
    manifest
}

/// The full stream of a small tree, always the same.
pub fn stream(to_guid: u64) -> Vec<u8> {
    let root = Folder::new();
    fs::create_dir(root.path().join("etc")).unwrap();
    root.write("etc/hello", &sample(300_000));
    for path in ["etc/hello", "etc", ""] {
        let file = fs::File::open(root.path().join(path)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let mut tree = DirTree::new(root.path().as_std_path()).unwrap();
    let options = StreamOptions {
        to_name: format!("zones/{to_guid}@final"),
        to_guid,
        creation_time: 1_600_000_000,
    };
    let mut stream = Vec::new();
    write_filesystem(&mut tree, &mut stream, &options, &mut |_| {}).unwrap();
    stream
}

/// The same as a change to another snapshot. Only its header is true then.
pub fn change(to_guid: u64, from_guid: u64) -> Vec<u8> {
    let mut stream = stream(to_guid);
    stream[48..56].copy_from_slice(&from_guid.to_le_bytes());
    stream
}

/// Bytes that compress somewhat.
pub fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let run = (state >> 28) as usize + 1;
        bytes.extend(std::iter::repeat_n((state >> 20) as u8, run));
    }
    bytes.truncate(length);
    bytes
}

/// Gives bytes to a program on its standard input and takes its standard output.
pub fn through(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("can't run {program} ({error}); `cargo xtask test` installs it")
        });
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program}");
        output.stdout
    })
}

/// Compresses by one of [`COMPRESSORS`].
pub fn compressed(program: &str, options: &[&str], input: &[u8]) -> Vec<u8> {
    match program {
        "cat" => input.to_vec(),
        // It wants a file.
        "pzstd" => {
            let folder = Folder::new();
            let path = folder.write("plain", input);
            let output = Command::new(program)
                .args(options)
                .args(["-c", path.as_str()])
                .output()
                .unwrap();
            assert!(output.status.success());
            output.stdout
        }
        _ => through(program, &[options, &["-c"]].concat(), input),
    }
}

/// All that can be read, and the error it ends with.
pub fn all(mut input: impl Read, piece: usize) -> (Vec<u8>, Option<std::io::Error>) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; piece]);
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return (bytes, None),
            Ok(count) => bytes.extend(&buffer[..count]),
            Err(error) => return (bytes, Some(error)),
        }
    }
}
