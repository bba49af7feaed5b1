//! Trees that proptest makes up: packed by GNU tar and by us, unpacked by both.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{CWD, FileType};

use crate::listing::assert_same;
use crate::packed::{compare, set_mtime, unpacked_by};
use crate::world::{Case, World, run, text};

pub const CASES: &[Case] = &[("made-up trees", made_up)];

/// A file of a made-up tree.
#[derive(Clone, Debug)]
enum Thing {
    File(Vec<u8>, u32),
    Symlink(Vec<u8>),
    /// To an earlier file, by its index.
    Link(prop::sample::Index),
    Directory(u32),
    Fifo,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => b'a'..=b'z',
        1 => prop::sample::select(&b"\n\\\" '=%\xff\xc3\x80\x01 .-"[..]),
    ];
    prop_oneof![
        5 => prop::collection::vec(byte.clone(), 1..20),
        1 => prop::collection::vec(byte.clone(), 90..110),
        1 => prop::collection::vec(byte, 150..255),
    ]
    .prop_filter("a name", |name| name != b"." && name != b"..")
}

fn thing() -> impl Strategy<Value = Thing> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..600),
        (0_usize..20_000).prop_map(|length| vec![b'c'; length]),
    ];
    let target = prop::collection::vec(prop_oneof![Just(b'/'), 1_u8..=255], 1..300);
    prop_oneof![
        4 => (content, 0_u32..0o10000).prop_map(|(content, mode)| Thing::File(content, mode)),
        1 => target.prop_map(Thing::Symlink),
        1 => any::<prop::sample::Index>().prop_map(Thing::Link),
        2 => (0_u32..0o10000).prop_map(Thing::Directory),
        1 => Just(Thing::Fifo),
    ]
}

type Plan = Vec<(prop::sample::Index, Vec<u8>, Thing, (i64, i64))>;

fn grow(top: &Path, plan: &Plan) {
    let mut directories = vec![top.to_owned()];
    let mut files = Vec::new();
    let mut modes = Vec::new();
    let mut times = Vec::new();
    fs::create_dir(top).unwrap();
    for (parent, name, thing, time) in plan {
        let path = parent.get(&directories).join(OsStr::from_bytes(name));
        if fs::symlink_metadata(&path).is_ok() || path.as_os_str().len() > 3000 {
            continue;
        }
        match thing {
            Thing::File(content, mode) => {
                fs::write(&path, content).unwrap();
                // An ordinary user's tar must read it.
                modes.push((path.clone(), *mode | 0o400));
                files.push(path.clone());
            }
            Thing::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Thing::Link(to) if !files.is_empty() => fs::hard_link(to.get(&files), &path).unwrap(),
            Thing::Link(_) => continue,
            Thing::Directory(mode) => {
                fs::create_dir(&path).unwrap();
                // An ordinary user must get in again.
                modes.push((path.clone(), *mode | 0o700));
                directories.push(path.clone());
            }
            Thing::Fifo => {
                rustix::fs::mknodat(CWD, &path, FileType::Fifo, 0o644.into(), 0).unwrap();
            }
        }
        times.push((path, *time));
    }
    for (path, mode) in modes {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for (path, (seconds, nanos)) in times.into_iter().rev() {
        set_mtime(&path, seconds, nanos);
    }
}

fn made_up() {
    let world = std::cell::RefCell::new(World::new());
    let time = (-2_000_000_000_i64..9_000_000_000, 0_i64..1_000_000_000);
    let plan = prop::collection::vec((any::<prop::sample::Index>(), name(), thing(), time), 1..40);
    let mut runner = TestRunner::new(Config {
        cases: 12,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let format = prop::sample::select(&["--format=gnu", "--format=pax"][..]);
    let result = runner.run(&(plan, format), |(plan, format)| {
        let mut world = world.borrow_mut();
        let top = world.path("tree");
        let _ = fs::remove_dir_all(&top);
        let _ = fs::remove_dir_all(world.path("theirs"));
        grow(&top, &plan);
        let archive = world.path("packed.tar");
        run(
            "tar",
            &["-cf", text(&archive), "-C", text(&top), format, "."],
        );
        compare(format, &mut world, &archive);
        let ours = world.path("ours.tar");
        world.pack(&ours, i64::MAX);
        let packed = unpacked_by("tar", &ours, &world.path("theirs"));
        assert_same("packed by us", &packed, &world.list());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
