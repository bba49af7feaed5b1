//! copy/ laid over a tree.

use std::fs;
use std::path::Path;

use mibe_build::lay::{Entry, EntryKind};

use crate::world::{Case, Tree, World};

pub const CASES: &[Case] = &[
    ("lay: modes and owners", modes_and_owners),
    ("lay: links of the tree are followed inside alone", links),
    ("lay: links are replaced, never written through", replaced),
    ("lay: of another kind", kinds),
    ("lay: a file of copy/ that became a link", changed),
];

fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
    Entry {
        path: path.into(),
        kind,
        mode,
    }
}

fn directory(path: &str) -> Entry {
    entry(path, EntryKind::Directory, 0o755)
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Symlink(target.into()), 0o777)
}

/// Puts a file into copy/; its content is its path.
fn file(world: &World, path: &str, mode: u32) -> Entry {
    let host = world.copy().join(path);
    fs::create_dir_all(host.parent().unwrap()).unwrap();
    fs::write(&host, path).unwrap();
    entry(path, EntryKind::File, mode)
}

fn modes_and_owners() {
    let world = World::new(
        &Tree::default()
            .dir("srv/data")
            .owned(0o2770, 33, 44)
            .file("srv/data/old", "old")
            .owned(0o600, 33, 44),
    );
    let entries = [
        directory("srv"),
        directory("srv/data"),
        file(&world, "srv/data/old", 0o644),
        file(&world, "srv/data/tool", 0o4755),
        entry("srv/data/new", EntryKind::Directory, 0o700),
        link("srv/data/link", "/nowhere"),
    ];
    world.lay(&entries).unwrap();
    let tree = world.list();
    for (path, what) in [
        ("srv/data", "d 2770 33:44"),
        ("srv/data/old", "f 0644 0:0"),
        ("srv/data/tool", "f 4755 0:0"),
        ("srv/data/link", "l -> /nowhere"),
    ] {
        assert_eq!(tree.what(path), what, "{path}");
    }
    let new = tree.what("srv/data/new");
    assert!(new.starts_with("d ") && new.ends_with("700 0:0"), "{new}");
    assert_eq!(tree.text("srv/data/old"), "srv/data/old");
    world.lay(&entries).unwrap();
    world.list().assert_same(&tree);
}

fn links() {
    let mut world = World::empty();
    let outside = world.outside();
    let outside = outside.to_str().unwrap();
    world.plant(
        &Tree::default()
            .dir("run")
            .link("var/run", "/run")
            .link("top", "/")
            .link("up", "../../..")
            .dir("etc")
            // In the tree there are such folders too, else the links lead nowhere.
            .dir("outside/directory")
            .link("climb", "../../outside/directory")
            .dir(outside.trim_start_matches('/'))
            .link("absolute", outside),
    );
    let entries = [
        directory("var"),
        directory("var/run"),
        file(&world, "var/run/a", 0o644),
        directory("top"),
        directory("top/etc"),
        file(&world, "top/etc/b", 0o644),
        directory("up"),
        directory("up/etc"),
        file(&world, "up/etc/c", 0o644),
        directory("climb"),
        file(&world, "climb/file", 0o644),
        directory("absolute"),
        file(&world, "absolute/file", 0o644),
    ];
    world.lay(&entries).unwrap();
    let tree = world.list();
    for (path, content) in [
        ("run/a", "var/run/a"),
        ("etc/b", "top/etc/b"),
        ("etc/c", "up/etc/c"),
        ("outside/directory/file", "climb/file"),
    ] {
        assert_eq!(tree.text(path), content, "{path}");
    }
    let inside = format!("{}/file", outside.trim_start_matches('/'));
    assert_eq!(tree.text(&inside), "absolute/file");
    for link in ["var/run", "top", "up", "climb", "absolute"] {
        assert!(tree.what(link).starts_with("l -> "), "{link}");
    }
    assert!(!Path::new("/etc/b").exists() && !Path::new("/etc/c").exists());
}

fn replaced() {
    let mut world = World::empty();
    let outside = world.outside().join("file");
    world.plant(
        &Tree::default()
            .file("etc/shadow", "secret")
            .link("etc/motd", "shadow")
            .link("etc/issue", outside.to_str().unwrap())
            .link("etc/profile", "../../../outside/file")
            .link("etc/link", "/etc/shadow"),
    );
    let entries = [
        directory("etc"),
        file(&world, "etc/motd", 0o644),
        file(&world, "etc/issue", 0o644),
        file(&world, "etc/profile", 0o644),
        link("etc/link", "/new"),
    ];
    world.lay(&entries).unwrap();
    let tree = world.list();
    assert_eq!(tree.text("etc/shadow"), "secret");
    for path in ["etc/motd", "etc/issue", "etc/profile"] {
        assert_eq!(tree.what(path), "f 0644 0:0", "{path}");
        assert_eq!(tree.text(path), path);
    }
    assert_eq!(tree.what("etc/link"), "l -> /new");
}

fn kinds() {
    let world = World::new(
        &Tree::default()
            .file("etc/motd.d/kept", "kept")
            .file("etc/motd", "a file")
            .link("etc/dangling", "nowhere")
            .link("etc/loop", "loop"),
    );
    let before = world.list();
    for (entry, ours, there) in [
        (file(&world, "etc/motd.d", 0o644), "a file", "a directory"),
        (link("etc/motd.d", "motd"), "a symlink", "a directory"),
        (directory("etc/motd"), "a directory", "a file"),
        (directory("etc/dangling"), "a directory", "a dangling link"),
    ] {
        let path = entry.path.display().to_string();
        let error = world.lay(&[directory("etc"), entry]).unwrap_err();
        let says =
            format!("copy/{path}: the image has {there} at /{path}, which {ours} can't replace");
        assert!(error.contains(&says), "{error}");
        fs::remove_dir_all(world.copy().join("etc")).ok();
    }
    let error = world
        .lay(&[directory("etc"), directory("etc/loop")])
        .unwrap_err();
    assert!(error.contains("copy/etc/loop"), "{error}");
    let below = [directory("etc"), file(&world, "etc/motd/below", 0o644)];
    let error = world.lay(&below).unwrap_err();
    assert!(error.contains("copy/etc/motd/below"), "{error}");
    world.list().assert_same(&before);
}

fn changed() {
    let world = World::new(&Tree::default().dir("etc"));
    let entry = file(&world, "etc/motd", 0o644);
    let host = world.copy().join("etc/motd");
    fs::remove_file(&host).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", &host).unwrap();
    let error = world.lay(&[directory("etc"), entry]).unwrap_err();
    assert!(error.contains("copy/etc/motd"), "{error}");
    assert!(!world.list().has("etc/motd"));
}
