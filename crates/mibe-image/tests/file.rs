//! The image's file: what others read of it, that it is the same everywhere, and that nothing is left when it fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy lets tests unwrap, but not the helpers beside them"
)]

use std::fs;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use mibe_image::Error;
use mibe_image::file::{CHUNK, Compression, FinishedFile, ImageWriter};
use mibe_image::library::{self, ImagePaths};
use mibe_image::manifest::{ImageFile, ImageType, Manifest, Os};

struct Folder(tempfile::TempDir);

/// Tells attempts to write one image apart.
fn tag() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn paths(&self, compression: Compression) -> ImagePaths {
        ImagePaths::new(self.path(), "an image", "1.0", compression)
    }

    fn written(
        &self,
        input: &[u8],
        compression: Compression,
        workers: usize,
        piece: usize,
    ) -> FinishedFile {
        let workers = NonZeroUsize::new(workers).unwrap();
        let mut writer =
            ImageWriter::with_workers(&self.paths(compression), &tag(), workers).unwrap();
        for piece in input.chunks(piece) {
            writer.write_all(piece).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap()
    }
}

/// Bytes that compress somewhat, with nothing of them repeating by whole chunks.
fn input(length: usize) -> Vec<u8> {
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

fn contents(file: &FinishedFile) -> Vec<u8> {
    fs::read(file.temporary_path().unwrap()).unwrap()
}

/// What coreutils have to say of a file.
fn sha1(file: &Utf8Path) -> String {
    let printed = String::from_utf8(through(file, "sha1sum", &[])).unwrap();
    printed.split_whitespace().next().unwrap().to_owned()
}

/// Gives `file` to a program on its standard input and takes its standard output.
fn through(file: &Utf8Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(fs::File::open(file).unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| {
            panic!("can't run {program} ({error}); `cargo xtask test` installs it")
        });
    assert!(output.status.success(), "{program}");
    output.stdout
}

fn manifest_of(file: &FinishedFile) -> Manifest {
    let uuid = "208f9314-29cf-4bec-9d8b-c0697d00c929";
    let mut manifest = Manifest::new(uuid, "an image", "1.0", ImageType::LxDataset, Os::Linux);
    manifest.files = Some(vec![ImageFile::of(file, Some(7))]);
    manifest
}

#[test]
fn every_reader_of_gzip_takes_the_members() {
    let folder = Folder::new();
    let node = "process.stdin.pipe(require('zlib').createGunzip()).pipe(process.stdout)";
    let python = "import gzip,shutil,sys; shutil.copyfileobj(gzip.GzipFile(fileobj=sys.stdin.buffer), sys.stdout.buffer)";
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 12_345] {
        let input = input(length);
        let file = folder.written(&input, Compression::Gzip, 2, 70_000);
        let path = file.temporary_path().unwrap();
        let readers: [(&str, &[&str]); 5] = [
            ("gzip", &["-cd"]),
            ("gzip", &["-cdfq"]),
            ("pigz", &["-cd"]),
            ("node", &["-e", node]),
            ("python3", &["-c", python]),
        ];
        for (program, arguments) in readers {
            assert!(
                through(path, program, arguments) == input,
                "{program}, {length} bytes"
            );
        }
    }
}

#[test]
fn bytes_depend_on_the_input_alone() {
    let folder = Folder::new();
    let input = input(7 * CHUNK + 99);
    let one = folder.written(&input, Compression::Gzip, 1, input.len());
    let bytes = contents(&one);
    for (workers, piece) in [(2, 1000), (3, CHUNK), (16, CHUNK - 1), (64, 3 * CHUNK)] {
        let other = folder.written(&input, Compression::Gzip, workers, piece);
        assert!(bytes == contents(&other), "{workers} workers");
        assert_eq!(one.sha1(), other.sha1());
    }
    // RFC 1952: deflate, no flags, no time; system "unknown".
    assert_eq!(bytes[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[9], 255);
}

#[test]
fn digest_and_sizes_are_those_of_the_file() {
    let folder = Folder::new();
    let input = input(3 * CHUNK + 5);
    for compression in Compression::ALL {
        let file = folder.written(&input, compression, 2, 4096);
        let bytes = contents(&file);
        assert_eq!(file.size(), bytes.len() as u64);
        assert_eq!(file.raw_size(), input.len() as u64);
        assert_eq!(file.sha1(), sha1(file.temporary_path().unwrap()));
        assert_eq!(bytes == input, compression == Compression::None);
    }
    let empty = folder.written(&[], Compression::None, 1, 1);
    assert_eq!(
        (empty.size(), empty.sha1()),
        (0, "da39a3ee5e6b4b0d3255bfef95601890afd80709")
    );
}

#[test]
fn nothing_is_left_of_a_writer_that_is_dropped() {
    let folder = Folder::new();
    let mut writer = ImageWriter::create(&folder.paths(Compression::Gzip), &tag()).unwrap();
    writer.write_all(&input(3 * CHUNK)).unwrap();
    assert_eq!(folder.names().len(), 1);
    assert!(folder.names()[0].starts_with(".an_image-1.0.zfs.gz."));
    drop(writer);
    assert_eq!(folder.names(), [""; 0]);
    drop(folder.written(b"x", Compression::Gzip, 1, 1));
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn published_is_the_pair_and_nothing_else() {
    let folder = Folder::new();
    let paths = folder.paths(Compression::Gzip);
    let file = folder.written(&input(1000), Compression::Gzip, 1, 1000);
    let manifest = manifest_of(&file);
    paths.check_free(false).unwrap();
    library::publish(file, &manifest, &paths, false).unwrap();
    assert_eq!(folder.names(), ["an_image-1.0.json", "an_image-1.0.zfs.gz"]);
    assert_eq!(Manifest::read(paths.manifest()).unwrap(), manifest);
    assert_eq!(
        library::list(folder.path()).unwrap(),
        std::slice::from_ref(&paths)
    );
    // Made under the umask, not private to their writer.
    let reference = folder.path().join("reference");
    fs::write(&reference, "").unwrap();
    let mode = |path: &Utf8Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(paths.file()), mode(&reference) & 0o644);
    assert_eq!(mode(paths.manifest()), mode(&reference) & 0o644);
}

#[test]
fn an_image_is_replaced_only_by_force() {
    let folder = Folder::new();
    let first = folder.written(b"first", Compression::Gzip, 1, 9);
    let paths = folder.paths(Compression::Gzip);
    library::publish(
        first,
        &manifest_of(&folder.written(b"first", Compression::Gzip, 1, 9)),
        &paths,
        false,
    )
    .unwrap();
    let before = (
        fs::read(paths.file()).unwrap(),
        fs::read(paths.manifest()).unwrap(),
    );

    // The other compression of the same image is in the way too: both have one manifest.
    for compression in Compression::ALL {
        let other = folder.paths(compression);
        let file = folder.written(b"second", compression, 1, 9);
        let manifest = manifest_of(&file);
        assert!(matches!(other.check_free(false), Err(Error::Exists { .. })));
        assert!(matches!(
            library::publish(file, &manifest, &other, false),
            Err(Error::Exists { .. })
        ));
        assert_eq!(
            before,
            (
                fs::read(paths.file()).unwrap(),
                fs::read(paths.manifest()).unwrap()
            )
        );
        assert_eq!(folder.names(), ["an_image-1.0.json", "an_image-1.0.zfs.gz"]);
    }
    let other = folder.paths(Compression::None);
    other.check_free(true).unwrap();
    let file = folder.written(b"second", Compression::None, 1, 9);
    let manifest = manifest_of(&file);
    library::publish(file, &manifest, &other, true).unwrap();
    assert_eq!(folder.names(), ["an_image-1.0.json", "an_image-1.0.zfs"]);
    assert_eq!(fs::read(other.file()).unwrap(), b"second");
}

#[test]
fn a_manifest_that_came_meanwhile_stays() {
    let folder = Folder::new();
    let paths = folder.paths(Compression::Gzip);
    let file = folder.written(b"x", Compression::Gzip, 1, 1);
    let manifest = manifest_of(&file);
    fs::write(paths.manifest(), "theirs").unwrap();
    assert!(matches!(
        library::publish(file, &manifest, &paths, false),
        Err(Error::Exists { .. })
    ));
    assert_eq!(folder.names(), ["an_image-1.0.json"]);
    assert_eq!(fs::read(paths.manifest()).unwrap(), b"theirs");
    // A folder in the way is not removed even by force.
    fs::remove_file(paths.manifest()).unwrap();
    fs::create_dir(paths.manifest()).unwrap();
    assert!(matches!(paths.check_free(true), Err(Error::Exists { .. })));
}

#[test]
fn a_manifest_of_another_file_is_refused() {
    let folder = Folder::new();
    let paths = folder.paths(Compression::Gzip);
    let other = folder.written(b"other", Compression::Gzip, 1, 9);
    let file = folder.written(b"one", Compression::Gzip, 1, 9);
    let error = library::publish(file, &manifest_of(&other), &paths, false).unwrap_err();
    assert!(
        matches!(&error, Error::Invalid { violations, .. } if violations.iter().any(|v| v.message.contains("sha1"))),
        "{error}"
    );
    drop(other);
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = Folder::new();
    let paths = ImagePaths::new(&folder.path().join("missing"), "x", "1", Compression::Gzip);
    let Err(error) = ImageWriter::create(&paths, &tag()) else {
        panic!("it wrote into a missing folder")
    };
    assert!(matches!(error, Error::Io { .. }));
    assert!(error.to_string().contains("missing/x-1.zfs.gz"), "{error}");
    assert!(error.hints()[0].contains("missing"), "{error}");
    assert_eq!(library::list(&folder.path().join("missing")).unwrap(), []);
}

/// Runs the test `name` of this binary in a process of its own, whose files the shell limits to `blocks` of 512
/// bytes or, with `mount`, puts on a full file system.
fn in_limited_process(shell: &str, name: &str, folder: &Utf8Path) {
    let status = Command::new("sh")
        .args(["-c", &format!("{shell}; exec \"$0\" --exact {name}")])
        .arg(std::env::current_exe().unwrap())
        .env("MIBE_TEST_FOLDER", folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(
        status.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&status.stderr)
    );
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_leaves_nothing() {
    let folder = Folder::new();
    // Without the signal, which would end the process.
    in_limited_process("trap '' XFSZ; ulimit -f 512", "no_room", folder.path());
    assert_eq!(folder.names(), [""; 0]);
}

/// In the user's own namespace, so that it needs no rights where the system lets users have namespaces.
#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let folder = Folder::new();
    let shell = format!("mount -t tmpfs -o size=1m none '{}'", folder.path());
    let status = Command::new("unshare")
        .args(["-rm", "true"])
        .stderr(Stdio::null())
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "this test mounts a file system, as root or in a user namespace, and this machine allows neither"
    );
    let shell = format!(
        "exec unshare -rm sh -c '{} && exec \"$0\" --exact no_room' \"$0\"",
        shell.replace('\'', "\"")
    );
    in_limited_process(&shell, "no_room", folder.path());
    assert_eq!(folder.names(), [""; 0]);
}

/// The inner half of the tests of full disks, which start it with little room.
#[test]
fn no_room() {
    let Ok(folder) = std::env::var("MIBE_TEST_FOLDER") else {
        return;
    };
    let folder = Utf8PathBuf::from(folder);
    let noise: Vec<u8> = (0..8 * CHUNK as u64)
        .map(|index| {
            (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
                ^ (index.wrapping_mul(index | 1) >> 11) as u8
        })
        .collect();
    for compression in Compression::ALL {
        let paths = ImagePaths::new(&folder, "x", "1", compression);
        let mut writer = ImageWriter::create(&paths, &tag()).unwrap();
        let written = writer.write_all(&noise);
        // The error comes with a write or with the end, as fast as threads are; then it stays.
        if let Err(error) = &written {
            assert!(error.to_string().contains(paths.file().as_str()), "{error}");
        }
        let error = writer.finish().unwrap_err();
        assert!(
            matches!(error, Error::NoSpace { free: Some(_), .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("MiB free"), "{error}");
        assert!(error.hints()[0].contains("--output"), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
