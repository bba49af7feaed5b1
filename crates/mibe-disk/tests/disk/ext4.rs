//! ext4 read against the directory that mke2fs made it of, changed against e2fsck and debugfs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use mibe_disk::ext4::edit::{Change, Content, Editor, Metadata};
use mibe_disk::ext4::{Ext4, FileKind, Inode};
use mibe_disk::source::{Format, Raw};

use crate::support::{noise, raw_disk, run};

const OFFSET: u64 = 1 << 20;

fn raw(path: &Path) -> Raw {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    Raw::open(file, Format::Raw).unwrap()
}

/// A tree of every kind that an ordinary user can make.
fn tree(folder: &Path) -> PathBuf {
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("many/deep/er")).unwrap();
    for number in 0..3000 {
        fs::write(
            tree.join(format!("many/a name that takes some room {number}")),
            format!("{number}"),
        )
        .unwrap();
    }
    fs::write(tree.join("large"), noise(9_000_000, 1)).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(5000, 2), 20 << 20).unwrap();
    fs::write(tree.join("empty"), b"").unwrap();
    std::os::unix::fs::symlink("large", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("x".repeat(1000), tree.join("long link")).unwrap();
    std::os::unix::fs::symlink("/many/../many/deep", tree.join("absolute")).unwrap();
    std::os::unix::fs::symlink("loop", tree.join("loop")).unwrap();
    fs::hard_link(tree.join("large"), tree.join("many/again")).unwrap();
    run("mkfifo", &[&tree.join("pipe")]);
    run(
        "setfattr",
        &[&"-n", &"user.small", &"-v", &"value", &tree.join("large")],
    );
    run(
        "setfattr",
        &[
            &"-n",
            &"user.large",
            &"-v",
            &"v".repeat(900),
            &tree.join("large"),
        ],
    );
    tree
}

fn make(folder: &Path, tree: &Path, options: &[&str]) -> PathBuf {
    let disk = folder.join("disk");
    raw_disk(&disk, 200 << 20, &[]);
    let extended = format!("offset={OFFSET}");
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"-q", &"-F", &"-E", &extended];
    arguments.extend(
        options
            .iter()
            .map(|option| option as &dyn AsRef<std::ffi::OsStr>),
    );
    arguments.extend([&"-d" as &dyn AsRef<std::ffi::OsStr>, &tree, &disk, &"190M"]);
    run("mke2fs", &arguments);
    disk
}

/// Every file, by path.
fn walk(ext4: &Ext4<'_>, inode: &Inode, path: &str, all: &mut BTreeMap<String, Inode>) {
    for entry in ext4.read_dir(inode).unwrap() {
        let child = ext4.inode(entry.inode).unwrap();
        let path = format!("{path}{}", String::from_utf8(entry.name).unwrap());
        if child.kind == FileKind::Directory {
            walk(ext4, &child, &format!("{path}/"), all);
        }
        all.insert(path, child);
    }
}

#[test]
fn file_systems_of_all_sorts_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree(folder.path());
    for options in [
        vec!["-t", "ext4", "-b", "4096"],
        vec!["-t", "ext4", "-b", "1024", "-I", "256"],
        vec!["-t", "ext4", "-O", "^64bit,^flex_bg,meta_bg,^resize_inode"],
        vec!["-t", "ext4", "-O", "inline_data", "-I", "512"],
        vec!["-t", "ext4", "-O", "ea_inode,metadata_csum_seed,large_dir"],
        vec!["-t", "ext3", "-b", "1024"],
        vec!["-t", "ext2", "-b", "2048", "-I", "128"],
    ] {
        let path = make(folder.path(), &tree, &options);
        let disk = raw(&path);
        let ext4 = Ext4::open(&disk, OFFSET, 190 << 20).unwrap();
        let mut all = BTreeMap::new();
        walk(
            &ext4,
            &ext4.inode(mibe_disk::ext4::ROOT).unwrap(),
            "",
            &mut all,
        );
        all.retain(|path, _| path != "lost+found");
        let expected = run(
            "sh",
            &[
                &"-c",
                &format!("cd '{}' && find . -mindepth 1 | wc -l", tree.display()),
            ],
        );
        assert_eq!(all.len().to_string(), expected.trim(), "{options:?}");
        for (name, inode) in &all {
            // mke2fs 1.47.0 cuts sparse files short with this feature.
            if name == "sparse" && options.contains(&"inline_data") {
                continue;
            }
            let metadata = fs::symlink_metadata(tree.join(name)).unwrap();
            let here = (
                metadata.mode() & 0o7777,
                metadata.uid(),
                metadata.gid(),
                metadata.mtime(),
            );
            assert_eq!(
                (inode.mode, inode.uid, inode.gid, inode.mtime.0),
                here,
                "{name} {options:?}"
            );
            match inode.kind {
                FileKind::File => {
                    let mut content = vec![0; inode.size as usize];
                    ext4.read(inode, 0, &mut content).unwrap();
                    assert!(
                        content == fs::read(tree.join(name)).unwrap(),
                        "{name} {options:?}"
                    );
                    assert_eq!(u64::from(inode.links), metadata.nlink(), "{name}");
                }
                FileKind::Symlink => {
                    assert_eq!(
                        ext4.read_link(inode).unwrap(),
                        fs::read_link(tree.join(name))
                            .unwrap()
                            .as_os_str()
                            .as_bytes()
                    );
                }
                _ => {}
            }
        }
        let large = ext4.find("absolute/../again", true).unwrap().unwrap();
        assert_eq!(large.number, all["large"].number);
        if !options.contains(&"ext2") {
            let names: Vec<_> = ext4
                .xattrs(&large)
                .unwrap()
                .into_iter()
                .map(|(name, value)| (String::from_utf8(name).unwrap(), value.len()))
                .collect();
            assert_eq!(
                names,
                [("user.large".into(), 900), ("user.small".into(), 5)],
                "{options:?}"
            );
        }
        assert!(ext4.find("loop", true).unwrap().is_none());
        assert_eq!(
            ext4.find("loop", false).unwrap().unwrap().kind,
            FileKind::Symlink
        );
        assert_eq!(
            ext4.find_real("absolute/er").unwrap().unwrap().0,
            b"many/deep/er"
        );
        assert!(ext4.find("large/x", true).unwrap().is_none());
        // Holes of a sparse file are known.
        let sparse = &all["sparse"];
        let range = ext4.next_data(sparse, 1 << 20).unwrap().unwrap();
        assert!(
            range.start >= 19 << 20 && range.end <= 21 << 20,
            "{range:?} {options:?}"
        );
    }
}

#[test]
fn changes_are_made_and_sound() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree(folder.path());
    let path = make(folder.path(), &tree, &["-t", "ext4"]);
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    let never = AtomicBool::new(false);
    let metadata = Metadata {
        mode: 0o4640,
        uid: 70_000,
        gid: 8,
        mtime: (1_600_000_000, 123_456_789),
        xattrs: vec![(b"user.note".to_vec(), b"a \"quoted\" value\n".to_vec())],
    };
    let large = work.join("source");
    fs::write(&large, noise(3_000_000, 9)).unwrap();
    let mut changes = vec![
        Change::Directory(b"many/a \"new\" <12>".to_vec(), Metadata::of_root(0o750, 5)),
        Change::File(
            b"many/a \"new\" <12>/<13>".to_vec(),
            Content::Bytes(b"content".to_vec()),
            metadata.clone(),
        ),
        Change::File(
            "many/näme".into(),
            Content::File(large.clone()),
            Metadata::of_root(0o644, 1),
        ),
        Change::Symlink(
            b"many/to".to_vec(),
            b"../large".to_vec(),
            Metadata::of_root(0o777, 7),
        ),
        Change::Node(
            b"many/null".to_vec(),
            'c',
            (1, 3),
            Metadata::of_root(0o666, 7),
        ),
        Change::Node(
            b"many/disk".to_vec(),
            'b',
            (259, 700),
            Metadata::of_root(0o660, 7),
        ),
        Change::Link("many/näme".into(), b"second".to_vec(), 2),
        Change::Remove(b"many/again".to_vec()),
        Change::Remove(b"empty".to_vec()),
    ];
    // Names enough that a directory with an index grows.
    for number in 0..2000 {
        changes.push(Change::File(
            format!("many/another name that takes room {number}").into(),
            Content::Bytes(vec![]),
            Metadata::of_root(0o600, 1),
        ));
    }
    for disk in [&path, &copy] {
        let editor = Editor::new(disk, OFFSET, 1_700_000_000).unwrap();
        assert_eq!(editor.prepare(&work, &never).unwrap(), None);
        editor.apply(&changes, &work, &never).unwrap();
        editor.check(&work, &never).unwrap();
    }
    // The same changes, the same bytes.
    assert!(fs::read(&path).unwrap() == fs::read(&copy).unwrap());
    let disk = raw(&path);
    let ext4 = Ext4::open(&disk, OFFSET, 190 << 20).unwrap();
    let found = ext4
        .find("many/a \"new\" <12>/<13>", false)
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.mode, found.uid, found.gid, found.mtime),
        (metadata.mode, metadata.uid, metadata.gid, metadata.mtime)
    );
    assert_eq!(ext4.xattrs(&found).unwrap(), metadata.xattrs);
    assert_eq!(
        ext4.read_file("many/näme", 1 << 30).unwrap().unwrap(),
        fs::read(&large).unwrap()
    );
    let second = ext4.find("second", false).unwrap().unwrap();
    assert_eq!(
        (second.links, second.number),
        (2, ext4.find("many/näme", false).unwrap().unwrap().number)
    );
    assert_eq!(
        ext4.find("many/null", false).unwrap().unwrap().device,
        (1, 3)
    );
    assert_eq!(
        ext4.find("many/disk", false).unwrap().unwrap().device,
        (259, 700)
    );
    assert!(ext4.find("empty", false).unwrap().is_none());
    assert_eq!(ext4.find("large", false).unwrap().unwrap().links, 1);
    let stat = run(
        "debugfs",
        &[
            &"-R",
            &"stat \"/many/a \"\"new\"\" <12>/<13>\"",
            &format!("{}?offset={OFFSET}", path.display()),
        ],
    );
    assert!(
        stat.contains("Mode:  04640") && stat.contains("User: 70000"),
        "{stat}"
    );
}

#[test]
fn what_fails_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let path = make(folder.path(), &tree, &["-t", "ext4"]);
    let never = AtomicBool::new(false);
    let editor = Editor::new(&path, OFFSET, 1).unwrap();
    for change in [
        Change::Remove(b"absent".to_vec()),
        Change::File(
            b"absent/file".to_vec(),
            Content::Bytes(vec![1]),
            Metadata::of_root(0o600, 1),
        ),
        Change::Directory(b"a\nb".to_vec(), Metadata::of_root(0o700, 1)),
        Change::File(
            b"x".to_vec(),
            Content::File("/nonexistent".into()),
            Metadata::of_root(0o600, 1),
        ),
    ] {
        let told = editor.apply(std::slice::from_ref(&change), folder.path(), &never);
        assert!(told.is_err(), "{change:?}");
    }
    // More than fits.
    let large = folder.path().join("large");
    fs::write(&large, noise(195 << 20, 3)).unwrap();
    let error = editor
        .apply(
            &[Change::File(
                b"x".to_vec(),
                Content::File(large),
                Metadata::of_root(0o600, 1),
            )],
            folder.path(),
            &never,
        )
        .unwrap_err();
    assert!(!error.hints().is_empty(), "{error}");
    // A damaged one is neither changed nor sound.
    let path = make(folder.path(), &tree, &["-t", "ext4"]);
    let file = fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise(1 << 20, 4), OFFSET + 8192).unwrap();
    let editor = Editor::new(&path, OFFSET, 1).unwrap();
    assert!(editor.prepare(folder.path(), &never).is_err());
    assert!(editor.check(folder.path(), &never).is_err());
}

/// What was removed is found by nobody, and nothing outside of the file system is touched.
#[test]
fn free_blocks_become_holes() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let secret = b"what nobody is to find again ".repeat(5000);
    fs::write(tree.join("secret"), &secret).unwrap();
    fs::write(tree.join("kept"), noise(3_000_000, 5)).unwrap();
    // Attributes that need a block of their own, which debugfs leaves behind.
    fs::create_dir(tree.join("labelled")).unwrap();
    for (name, path) in [("user.long", "secret"), ("user.long", "labelled")] {
        let value = "v".repeat(600);
        run("setfattr", &[&"-n", &name, &"-v", &value, &tree.join(path)]);
    }
    let disk = make(folder.path(), &tree, &[]);
    let file = fs::File::options().write(true).open(&disk).unwrap();
    // What is before and after the file system.
    for at in [0, 192 << 20] {
        std::os::unix::fs::FileExt::write_all_at(&file, &noise(1 << 20, 6), at).unwrap();
    }
    let editor = Editor::new(&disk, OFFSET, 1_700_000_000).unwrap();
    let never = AtomicBool::new(false);
    let change = [
        Change::Remove(b"secret".to_vec()),
        Change::RemoveDirectory(b"labelled".to_vec()),
    ];
    editor.apply(&change, folder.path(), &never).unwrap();
    let holds = |bytes: &[u8]| bytes.windows(20).any(|window| window == &secret[..20]);
    assert!(holds(&fs::read(&disk).unwrap()));
    editor.check(folder.path(), &never).unwrap();
    editor.discard(folder.path(), &never).unwrap();
    editor.check(folder.path(), &never).unwrap();
    let after = fs::read(&disk).unwrap();
    assert!(!holds(&after));
    assert_eq!(after[..1 << 20], noise(1 << 20, 6));
    assert_eq!(after[192 << 20..193 << 20], noise(1 << 20, 6));
    let raw = raw(&disk);
    let ext4 = Ext4::open(&raw, OFFSET, 190 << 20).unwrap();
    let kept = ext4.read_file("kept", 1 << 30).unwrap().unwrap();
    assert_eq!(kept, noise(3_000_000, 5));
}

#[test]
fn a_file_system_grows() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree(folder.path());
    let disk = make(folder.path(), &tree, &[]);
    let file = fs::File::options().write(true).open(&disk).unwrap();
    file.set_len(900 << 20).unwrap();
    let editor = Editor::new(&disk, OFFSET, 1_700_000_000).unwrap();
    let never = AtomicBool::new(false);
    editor.prepare(folder.path(), &never).unwrap();
    editor.grow(899 << 20, folder.path(), &never).unwrap();
    editor.check(folder.path(), &never).unwrap();
    let raw = raw(&disk);
    let ext4 = Ext4::open(&raw, OFFSET, 899 << 20).unwrap();
    assert_eq!(ext4.size(), 899 << 20);
    let large = ext4.read_file("large", 1 << 30).unwrap().unwrap();
    assert_eq!(large, noise(9_000_000, 1));
}

/// A directory whose blocks are full of names gets one more for another.
#[test]
fn many_names_of_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "content").unwrap();
    let disk = make(folder.path(), &tree, &["-b", "1024"]);
    let editor = Editor::new(&disk, OFFSET, 1_700_000_000).unwrap();
    let never = AtomicBool::new(false);
    let links: Vec<Change> = (0..300_u32)
        .map(|number| {
            let name = format!("another name of some length {number}");
            Change::Link(b"file".to_vec(), name.into_bytes(), number + 2)
        })
        .collect();
    editor.apply(&links, folder.path(), &never).unwrap();
    editor.check(folder.path(), &never).unwrap();
    let raw = raw(&disk);
    let ext4 = Ext4::open(&raw, OFFSET, 190 << 20).unwrap();
    assert_eq!(ext4.find("file", false).unwrap().unwrap().links, 301);
    let last = ext4.find("another name of some length 299", false);
    assert_eq!(last.unwrap().unwrap().size, 7);
}

#[test]
fn what_debugfs_would_cut_or_misread_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let disk = make(folder.path(), &tree, &[]);
    let editor = Editor::new(&disk, OFFSET, 1_700_000_000).unwrap();
    let metadata = Metadata {
        xattrs: vec![(b"user.long".to_vec(), vec![b'x'; 5000])],
        ..Metadata::of_root(0o644, 1)
    };
    let change = [Change::File(
        b"file".to_vec(),
        Content::Bytes(Vec::new()),
        metadata,
    )];
    let never = AtomicBool::new(false);
    let error = editor.apply(&change, folder.path(), &never).unwrap_err();
    assert!(error.to_string().contains("5000 bytes"), "{error}");
    let odd = folder.path().join("what?");
    fs::copy(&disk, &odd).unwrap();
    let error = Editor::new(&odd, OFFSET, 0).unwrap_err();
    assert!(error.to_string().contains("question mark"), "{error}");
}
