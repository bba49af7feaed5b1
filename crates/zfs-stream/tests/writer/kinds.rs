//! Every kind of file and every attribute.

use zfs_stream::{Device, Kind, write_filesystem};

use crate::support::{Content, MemTree, options, oracle, round_trip, stream_of};

/// Bytes that are not zero and not the same in every block.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 | 1
    })
    .take(length)
    .collect()
}

#[test]
fn kinds_owners_modes_times() {
    let mut tree = MemTree::new();
    let root = &mut tree.node("").metadata;
    (root.mode, root.uid, root.gid) = (0o2711, 1000, 4_000_000);
    tree.dir("sticky").metadata.mode = 0o1777;
    tree.dir("closed").metadata.mode = 0;
    tree.file("setuid", Content::dense(noise(5, 1)))
        .metadata
        .mode = 0o6755;
    for (name, kind, major, minor) in [
        ("null", Kind::CharDevice, 1, 3),
        ("disk", Kind::BlockDevice, 259, 1 << 19),
        ("odd", Kind::CharDevice, u32::MAX, u32::MAX),
    ] {
        tree.add(name, kind).metadata.device = Device { major, minor };
    }
    tree.add("fifo", Kind::Fifo);
    for (name, mtime) in [
        ("epoch", (0, 0)),
        ("before", (-1, 999_999_999)),
        ("long-before", (-5_000_000_000, 1)),
        ("late", (253_402_300_800, 999_999_999)),
    ] {
        tree.file(name, Content::default()).metadata.mtime = mtime;
    }
    for (name, uid, gid) in [
        ("nobody", 65534, 65534),
        ("most", u32::MAX - 1, u32::MAX - 1),
    ] {
        let node = tree.file(name, Content::default());
        (node.metadata.uid, node.metadata.gid) = (uid, gid);
    }
    round_trip(&mut [tree]);
}

/// Of all modes, as kinds that have different ACLs.
#[test]
fn all_modes() {
    let mut tree = MemTree::new();
    for mode in 0..0o1000 {
        tree.add(format!("f{mode:o}"), Kind::Fifo).metadata.mode = mode | 0o4000;
        tree.dir(format!("d{mode:o}")).metadata.mode = mode;
        tree.symlink(format!("l{mode:o}"), vec![b'x'; 140])
            .metadata
            .mode = mode;
        tree.add(format!("c{mode:o}"), Kind::CharDevice)
            .metadata
            .mode = mode;
    }
    let received = &round_trip(&mut [tree])[0];
    // As acl_trivial_access_masks has it: the owner keeps what the group is denied.
    let denied = "01004020010000000";
    assert!(
        received.raw("/f604", "acl").starts_with("5:"),
        "{}",
        received.raw("/f604", "acl")
    );
    assert!(received.raw("/f604", "acl").contains(&denied[..16]));
    // What a kernel's OpenZFS wrote for such a directory.
    let acl = "3:00000010ff011e0000004020a900120000000040a9001200";
    assert_eq!(received.raw("/d755", "acl"), acl);
    assert_eq!(received.raw("/d755", "flags"), "40800000144");
    assert_eq!(received.raw("/f644", "flags"), "40800000004");
}

#[test]
fn sockets_are_left_out_and_named() {
    let mut tree = MemTree::new();
    tree.dir("run");
    for number in 0..30 {
        tree.add(format!("run/socket{number:02}"), Kind::Socket);
    }
    tree.add("run/stays", Kind::Fifo);
    let summary = write_filesystem(&mut tree, std::io::sink(), &options(), &mut |_| {}).unwrap();
    assert_eq!(summary.sockets.count, 30);
    assert_eq!(summary.sockets.first.len(), 20);
    assert_eq!(summary.sockets.first[19].to_str(), Some("run/socket19"));
    assert_eq!((summary.files, summary.directories), (3, 2));
    round_trip(&mut [tree]);
}

#[test]
fn sizes_around_blocks() {
    const K128: usize = 128 << 10;
    let mut sizes = vec![0, 1, 2, 511, 512, 513, 1023, 1024, 1025, 4096, 65_537];
    for blocks in 1..4 {
        let size = blocks * K128;
        sizes.extend([
            size - 512,
            size - 511,
            size - 1,
            size,
            size + 1,
            size + 511,
            size + 512,
        ]);
    }
    sizes.push(40 * K128 + 7);
    let mut tree = MemTree::new();
    for size in &sizes {
        tree.file(
            format!("{size}"),
            Content::dense(noise(*size, *size as u32)),
        );
    }
    let received = &round_trip(&mut [tree])[0];
    for size in sizes {
        let expected = if size > K128 {
            K128
        } else {
            size.next_multiple_of(512).max(512)
        };
        assert_eq!(
            received.raw_number(&format!("/{size}"), "blksz"),
            expected as u64
        );
    }
}

#[test]
fn holes_are_neither_read_nor_sent() {
    const K128: u64 = 128 << 10;
    let mut tree = MemTree::new();
    let mut add = |name: &str, size: u64, at: &[(u64, usize)]| {
        let data = at
            .iter()
            .map(|(start, length)| (*start, noise(*length, 9)))
            .collect();
        tree.file(name, Content::sparse(size, data));
    };
    add("nothing", 10 * K128, &[]);
    add("nothing-small", 3000, &[]);
    add("head", 10 * K128, &[(0, 1)]);
    add("tail", 10 * K128 + 100, &[(10 * K128 + 99, 1)]);
    add("middle", 9 * K128, &[(4 * K128 + 700, 1000)]);
    add(
        "across",
        9 * K128,
        &[
            (4 * K128 - 5, 10),
            (4 * K128 + 6, 1),
            (7 * K128, K128 as usize),
        ],
    );
    add(
        "many",
        4 * K128,
        &[
            (1, 1),
            (3, 1),
            (5000, 4096),
            (K128 - 1, 2),
            (3 * K128 - 1, 1),
        ],
    );
    add("small", 3000, &[(1000, 1)]);
    // A hundred GiB, of which no more than three blocks may be looked at.
    let huge = 100 << 30;
    let data = vec![(0, vec![1]), (huge / 2, vec![2]), (huge - 1, vec![3])];
    let mut large = MemTree::new();
    large.file("huge", Content::sparse(huge, data));
    assert!(stream_of(&mut large).len() < 500_000);
    // Zeroes that are read are not sent either.
    let mut zeroes = vec![0; 5 * K128 as usize];
    zeroes[3 * K128 as usize] = 1;
    tree.file("zeroes", Content::dense(zeroes));
    let received = &round_trip(&mut [tree])[0];
    for (name, blocks) in [
        ("nothing", 0),
        ("nothing-small", 0),
        ("head", 1),
        ("tail", 1),
        ("middle", 1),
        ("across", 3),
        ("many", 3),
        ("zeroes", 1),
    ] {
        let allocated = received.raw_number(&format!("/{name}"), "nblk512");
        // Besides its blocks, a file may have an indirect one.
        let least = if blocks == 0 { 0 } else { blocks * K128 / 512 };
        assert!(
            (least..least + 64).contains(&allocated),
            "{name}: {allocated}"
        );
    }
}

#[test]
fn symlinks_of_all_lengths() {
    let mut tree = MemTree::new();
    for length in (1..400).chain([511, 512, 513, 1023, 1024, 2048, 4087, 4088, 4089, 4095]) {
        tree.symlink(format!("l{length}"), noise(length, length as u32));
        // Attributes move the point where the target no longer fits, and so do longer ACLs.
        let name = format!("x{length}");
        tree.symlink(&name, noise(length, 3)).metadata.mode =
            if length % 2 == 0 { 0o777 } else { 0o707 };
        if length % 16 == 0 || (100..160).contains(&length) {
            tree.xattr(&name, b"trusted.t", b"value");
        }
    }
    round_trip(&mut [tree]);
}

#[test]
fn hard_links() {
    let mut tree = MemTree::new();
    tree.dir("z");
    tree.dir("a");
    tree.dir("a/b");
    tree.file("z/file", Content::dense(noise(1000, 1)));
    for number in 0..2500 {
        let directory = ["", "a", "a/b", "z"][number % 4];
        tree.link(
            std::path::Path::new(directory).join(format!("link{number}")),
            "z/file",
        );
    }
    tree.file("pair1", Content::default());
    tree.link("a/pair2", "pair1");
    tree.symlink("s1", "target");
    tree.link("a/b/s2", "s1");
    tree.add("fifo1", Kind::Fifo);
    tree.link("a/fifo2", "fifo1");
    // Linked from elsewhere, too: only what is inside counts.
    tree.file("outside", Content::default()).metadata.links = 9;
    tree.xattr("a/pair2", b"user.x", b"of this link's node only");
    tree.xattr("pair1", b"user.x", b"of this link's node only");
    let mut trees = [tree.clone(), tree.clone(), tree];
    // Listings that don't know identities, or know others than metadata has.
    trees[1].identities = None;
    trees[2].identities = Some(false);
    round_trip(&mut trees);
    assert_eq!(stream_of(&mut trees[0]), stream_of(&mut trees[1]));
    assert_eq!(stream_of(&mut trees[0]), stream_of(&mut trees[2]));
}

#[test]
fn extended_attributes() {
    let mut tree = MemTree::new();
    tree.dir("dir");
    tree.dir("dir/sub");
    tree.file("dir/file", Content::dense(noise(300_000, 1)))
        .metadata
        .uid = 77;
    tree.symlink("link", vec![b'y'; 200]);
    tree.add("device", Kind::CharDevice);
    for path in ["", "dir", "dir/file", "link", "device"] {
        tree.xattr(path, b"user.empty", b"");
        tree.xattr(path, b"user.one", &noise(1, 1));
        tree.xattr(path, b"user.block", &noise(512, 2));
        tree.xattr(path, b"user.odd \xff\\name", &noise(700, 3));
    }
    tree.xattr("dir/file", b"user.large", &noise(70_000, 4));
    tree.xattr("dir/file", b"user.huge", &noise(400_000, 5));
    tree.xattr("dir/file", b"user.zeroes", &vec![0; 200_000]);
    // Names too long for a microzap.
    for number in 0..200 {
        let name = format!("user.{}{number}", "n".repeat(240));
        tree.xattr("dir/sub", name.as_bytes(), number.to_string().as_bytes());
    }
    round_trip(&mut [tree]);
}

#[test]
fn same_tree_same_stream() {
    let mut tree = MemTree::new();
    for number in 0..3000 {
        tree.file(format!("file{number}"), Content::dense(noise(number, 1)));
    }
    for number in 0..5 {
        tree.link(format!("link{number}"), "file7");
        tree.xattr("file8", format!("user.{number}").as_bytes(), b"");
    }
    tree.dir("dir");
    tree.file("dir/file", Content::default());
    let mut other = tree.clone();
    other.reversed = true;
    assert_eq!(stream_of(&mut tree), stream_of(&mut other));
}

#[test]
fn records_are_well_formed() {
    let mut tree = MemTree::new();
    tree.file("file", Content::dense(noise(300_000, 1)));
    tree.symlink("link", vec![b'x'; 300]);
    let text = oracle::dump(&stream_of(&mut tree));
    for part in [
        "features = 4\n",
        "flags = 0xc\n",
        "toguid = 123456789abcdef\n",
        "toname = zones/image@final\n",
        "fromguid = 0\n",
        "SPILL block for object = 8 length = 512",
        "Total DRR_OBJECT records = 8 ",
        "Total DRR_WRITE records = 10 ",
        "Total DRR_SPILL records = 1 ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn progress_ends_at_the_total() {
    let mut tree = MemTree::new();
    tree.file("dense", Content::dense(noise(300_000, 1)));
    tree.file("sparse", Content::sparse(1 << 30, vec![(5 << 20, vec![1])]));
    tree.file("a", Content::dense(vec![1]));
    tree.link("b", "a");
    let mut seen = Vec::new();
    let summary = write_filesystem(&mut tree, std::io::sink(), &options(), &mut |p| {
        seen.push(p);
    })
    .unwrap();
    let total = 300_000 + (1 << 30) + 1;
    assert_eq!(summary.file_bytes, total);
    assert!(seen.is_sorted_by_key(|progress| progress.done));
    assert!(seen.iter().all(|progress| progress.total == total));
    assert_eq!(seen.first().map(|progress| progress.done), Some(0));
    assert_eq!(seen.last().map(|progress| progress.done), Some(total));
}
