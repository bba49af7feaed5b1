//! Every format, made by qemu-img and the compressors, reads as the raw disk that it was made of.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use mibe_disk::DiskError;
use mibe_disk::source::{OpenOptions, Source, open};

use crate::support::{digest, file_digest, noise, raw_disk, run};

const MIB: u64 = 1 << 20;

/// A disk with noise, text, and zeroes that are written and that are not.
fn sample(folder: &Path) -> PathBuf {
    let path = folder.join("sample.raw");
    let text = b"the same words again and again\n".repeat(20_000);
    raw_disk(
        &path,
        40 * MIB,
        &[
            (0, &noise(70_000, 1)),
            (3 * MIB + 512, &text),
            (9 * MIB, &vec![0; 300_000]),
            (30 * MIB, &noise(5000, 2)),
            (40 * MIB - 512, &noise(512, 3)),
        ],
    );
    path
}

fn read(path: &Path, options: &OpenOptions) -> Result<(Box<dyn Source>, String), DiskError> {
    let scratch = tempfile::tempdir().unwrap();
    let opened = open(path, options, scratch.path(), &AtomicBool::new(false))?;
    Ok((
        opened.source,
        format!("{} {}", opened.about.format, opened.about.details),
    ))
}

#[test]
fn qcow2_of_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sample(folder.path());
    let expected = file_digest(&raw);
    let kinds: [(&str, bool); 11] = [
        ("compat=0.10", false),
        ("compat=0.10", true),
        ("compat=1.1", false),
        ("compat=1.1", true),
        ("compat=1.1,compression_type=zstd", true),
        ("compat=1.1,extended_l2=on", false),
        ("compat=1.1,extended_l2=on", true),
        (
            "compat=1.1,extended_l2=on,compression_type=zstd,cluster_size=128k",
            true,
        ),
        ("cluster_size=512", true),
        ("cluster_size=2M", true),
        ("cluster_size=4k,refcount_bits=64,lazy_refcounts=on", false),
    ];
    for (number, (options, compressed)) in kinds.into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.qcow2"));
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
            vec![&"convert", &"-O", &"qcow2", &"-o", &options];
        if compressed {
            arguments.push(&"-c");
        }
        arguments.extend([&raw as &dyn AsRef<std::ffi::OsStr>, &path]);
        run("qemu-img", &arguments);
        let (disk, _) = read(&path, &OpenOptions::default()).unwrap();
        assert_eq!(digest(disk.as_ref()), expected, "{options} {compressed}");
        // What is empty is said to be.
        let mut data = 0;
        let mut at = 0;
        while let Some(range) = disk.next_data(at).unwrap() {
            data += range.end - range.start;
            at = range.end;
        }
        assert!(data < 12 * MIB, "{options}: {data}");
    }
}

#[test]
fn zero_clusters_hide_what_is_below() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sample(folder.path());
    let path = folder.path().join("zeroed.qcow2");
    run("qemu-img", &[&"convert", &"-O", &"qcow2", &raw, &path]);
    run(
        "qemu-io",
        &[&"-c", &"write -z 3M 1M", &"-c", &"discard 30M 64k", &path],
    );
    let back = folder.path().join("back.raw");
    run("qemu-img", &[&"convert", &"-O", &"raw", &path, &back]);
    let (disk, _) = read(&path, &OpenOptions::default()).unwrap();
    assert_eq!(digest(disk.as_ref()), file_digest(&back));
}

#[test]
fn backing_files_only_where_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sample(folder.path());
    let middle = folder.path().join("middle.qcow2");
    let top = folder.path().join("top.qcow2");
    run(
        "qemu-img",
        &[
            &"create", &"-f", &"qcow2", &"-b", &raw, &"-F", &"raw", &middle, &"50M",
        ],
    );
    run(
        "qemu-io",
        &[
            &"-c",
            &"write -P 7 1M 200k",
            &"-c",
            &"write -P 8 45M 4k",
            &middle,
        ],
    );
    run(
        "qemu-img",
        &[
            &"create",
            &"-f",
            &"qcow2",
            &"-o",
            &"extended_l2=on",
            &"-b",
            &middle,
            &"-F",
            &"qcow2",
            &top,
        ],
    );
    run(
        "qemu-io",
        &[
            &"-c",
            &"write -P 9 1100k 2k",
            &"-c",
            &"write -z 3M 64k",
            &top,
        ],
    );
    let whole = folder.path().join("whole.raw");
    run("qemu-img", &[&"convert", &"-O", &"raw", &top, &whole]);
    let with = |backing: &[&PathBuf]| OpenOptions {
        backing: backing.iter().map(|&path| path.clone()).collect(),
    };
    let (disk, _) = read(&top, &with(&[&middle, &raw])).unwrap();
    assert_eq!(digest(disk.as_ref()), file_digest(&whole));
    for (backing, word) in [
        (vec![], "middle.qcow2"),
        (vec![&middle], "sample.raw"),
        (vec![&middle, &raw, &raw], "no backing file"),
    ] {
        let error = read(&top, &with(&backing)).err().expect("it was opened");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.hints().is_empty());
    }
}

#[test]
fn compressed_disks_unpack_with_holes() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sample(folder.path());
    let expected = file_digest(&raw);
    for (program, arguments, end) in [
        ("gzip", vec!["-k"], "gz"),
        ("xz", vec!["-k", "-1"], "xz"),
        ("zstd", vec!["-q", "-k"], "zst"),
        ("bzip2", vec!["-k"], "bz2"),
    ] {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> =
            arguments.iter().map(|argument| argument as _).collect();
        all.push(&raw);
        run(program, &all);
        let path = folder.path().join(format!("sample.raw.{end}"));
        let (disk, _) = read(&path, &OpenOptions::default()).unwrap();
        assert_eq!(digest(disk.as_ref()), expected, "{end}");
        // Cut short it is no disk.
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
        assert!(
            matches!(
                read(&path, &OpenOptions::default()),
                Err(DiskError::Disk { .. })
            ),
            "{end}"
        );
    }
    // A qcow2 in gzip is still a qcow2.
    let path = folder.path().join("packed.qcow2");
    run("qemu-img", &[&"convert", &"-O", &"qcow2", &raw, &path]);
    run("gzip", &[&path]);
    let (disk, format) = read(
        &folder.path().join("packed.qcow2.gz"),
        &OpenOptions::default(),
    )
    .unwrap();
    assert_eq!(
        (digest(disk.as_ref()), format.starts_with("qcow2")),
        (expected, true)
    );
}

#[test]
fn formats_of_others_through_qemu_img() {
    let folder = tempfile::tempdir().unwrap();
    let raw = sample(folder.path());
    let expected = file_digest(&raw);
    for (format, options) in [
        ("vmdk", "subformat=monolithicSparse"),
        ("vmdk", "subformat=streamOptimized"),
        ("vmdk", "subformat=monolithicFlat"),
        ("vhdx", "subformat=dynamic"),
        ("vpc", "subformat=dynamic,force_size=on"),
        ("vpc", "subformat=fixed,force_size=on"),
        ("vdi", "static=off"),
    ] {
        let path = folder
            .path()
            .join(format!("{format}-{}", options.replace(['=', ','], "-")));
        run(
            "qemu-img",
            &[&"convert", &"-O", &format, &"-o", &options, &raw, &path],
        );
        let (disk, _) = read(&path, &OpenOptions::default()).unwrap();
        assert_eq!(digest(disk.as_ref()), expected, "{format} {options}");
    }
}

/// Descriptions of VMware's disks that lead elsewhere.
#[test]
fn no_description_leads_to_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, [b'x'; 1024]).unwrap();
    let disks = folder.path().join("disks");
    std::fs::create_dir(&disks).unwrap();
    std::os::unix::fs::symlink(&secret, disks.join("link.vmdk")).unwrap();
    let description = |extent: &str, more: &str| {
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n{more}\nRW 2 FLAT \"{extent}\" 0\n"
        )
    };
    for (extent, more) in [
        ("../secret", ""),
        (secret.to_str().unwrap(), ""),
        ("link.vmdk", ""),
        ("absent.vmdk", ""),
        ("", ""),
        ("own.vmdk", "parentFileNameHint=\"../secret\""),
        ("own.vmdk", "parentCID=12345678"),
    ] {
        std::fs::write(disks.join("own.vmdk"), [0; 1024]).unwrap();
        let path = disks.join("disk.vmdk");
        std::fs::write(&path, description(extent, more)).unwrap();
        assert!(
            matches!(
                read(&path, &OpenOptions::default()),
                Err(DiskError::Disk { .. })
            ),
            "{extent} {more}"
        );
    }
    // QEMU takes tabs and line ends for blanks, and finds the disk below wherever it is named.
    let nested = {
        let mut bytes = vec![0; 1024];
        bytes[..8].copy_from_slice(b"KDMV\x01\0\0\0");
        bytes[28] = 1;
        bytes[36] = 1;
        bytes[512..].copy_from_slice(
            &[description("../secret", "").into_bytes(), vec![0; 512]].concat()[..512],
        );
        bytes
    };
    std::fs::write(disks.join("nested.vmdk"), nested).unwrap();
    for more in [
        "RW\t2\tFLAT\t\"../secret\"\t0",
        "RW\n2 FLAT \"../secret\" 0",
        "RW 2\nFLAT\n\"../secret\" 0",
        "\x0bRW 2 FLAT \"../secret\" 0",
        "RW 2 \"own.vmdk\"x \"../secret\" 0",
        "RW 2 SPARSE \"nested.vmdk\"",
        "x parentFileNameHint=\"../secret\"",
    ] {
        let path = disks.join("disk.vmdk");
        std::fs::write(&path, description("own.vmdk", more)).unwrap();
        let error = read(&path, &OpenOptions::default()).map(drop).unwrap_err();
        assert!(
            error.to_string().contains("its description names"),
            "{more:?}: {error}"
        );
    }
    // A harmless description where the header says, and another where QEMU looks for a disk below.
    let mut bytes = vec![0; 20 << 10];
    bytes[..8].copy_from_slice(b"KDMV\x01\0\0\0");
    (bytes[12], bytes[28], bytes[36]) = (1, 30, 1);
    let plain = description("own.vmdk", "");
    bytes[30 * 512..30 * 512 + plain.len()].copy_from_slice(plain.as_bytes());
    let path = disks.join("two.vmdk");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = read(&path, &OpenOptions::default()).map(drop).unwrap_err();
        error.to_string().contains("its description names")
    };
    assert!(!refused(&bytes));
    let hint = b"parentFileNameHint=\"../secret\"";
    bytes[1000..1000 + hint.len()].copy_from_slice(hint);
    assert!(refused(&bytes));
    // A sparse one that says to have no data but a description.
    let raw = sample(folder.path());
    let path = disks.join("sparse.vmdk");
    run("qemu-img", &[&"convert", &"-O", &"vmdk", &raw, &path]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[12..20].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(
        read(&path, &OpenOptions::default()),
        Err(DiskError::Disk { .. })
    ));
}

#[test]
fn what_is_no_disk_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    std::fs::write(&inside, b"x").unwrap();
    let tar = folder.path().join("disk.ova");
    run("tar", &[&"cf", &tar, &"-C", &folder.path(), &"inside"]);
    let qcow1 = folder.path().join("old.qcow");
    run("qemu-img", &[&"create", &"-f", &"qcow", &qcow1, &"1M"]);
    let empty = folder.path().join("empty");
    std::fs::write(&empty, b"").unwrap();
    let encrypted = folder.path().join("luks.qcow2");
    run(
        "qemu-img",
        &[
            &"create",
            &"--object",
            &"secret,id=s,data=word",
            &"-f",
            &"qcow2",
            &"-o",
            &"encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
            &encrypted,
            &"1M",
        ],
    );
    for (path, word) in [
        (&tar, "tar"),
        (&qcow1, "version 1"),
        (&empty, "empty"),
        (&folder.path().to_owned(), "folder"),
        (&encrypted, "encrypted"),
    ] {
        let error = read(path, &OpenOptions::default())
            .err()
            .unwrap_or_else(|| panic!("{} was opened", path.display()));
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// Without qemu-img, its name and package are told.
#[test]
fn a_missing_program_is_named() {
    // PATH is the process's: so this is a process of its own.
    if std::env::var_os("MIBE_NO_QEMU_IMG").is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["formats::a_missing_program_is_named", "--exact"])
            .env("MIBE_NO_QEMU_IMG", "1")
            .env("PATH", "/nonexistent")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.vhdx");
    std::fs::write(&path, b"vhdxfile and more").unwrap();
    let error = read(&path, &OpenOptions::default()).err().unwrap();
    assert!(
        matches!(
            error,
            DiskError::NoTool {
                program: "qemu-img",
                package: "qemu-utils",
                ..
            }
        ),
        "{error}"
    );
}
