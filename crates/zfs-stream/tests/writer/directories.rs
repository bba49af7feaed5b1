//! Directories of every size and shape.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use zfs_stream::format::zap;
use zfs_stream::{Kind, WriteError, write_filesystem};

use crate::support::{Content, MemTree, options, round_trip};

fn path(directory: &str, name: &[u8]) -> PathBuf {
    Path::new(directory).join(OsStr::from_bytes(name))
}

/// Around where a microzap, and a header's table of pointers, are too small.
#[test]
fn sizes() {
    let mut trees = Vec::new();
    for counts in [vec![0, 1, 6, 7, 8, 2046, 2047, 2048], vec![30_000, 3000]] {
        let mut tree = MemTree::new();
        for count in counts {
            let directory = format!("of{count}");
            tree.dir(&directory);
            for number in 0..count {
                tree.add(format!("{directory}/entry{number}"), Kind::Fifo);
            }
        }
        trees.push(tree);
    }
    let received = round_trip(&mut trees);
    assert_eq!(received[0].raw("/of2047", "blksz"), "131072");
    assert_eq!(received[0].raw("/of2048", "blksz"), "16384");
    assert_eq!(received[0].raw("/of0", "blksz"), "512");
    assert_eq!(received[0].raw("/of7", "blksz"), "512");
    assert_eq!(received[0].raw("/of8", "blksz"), "1024");
}

#[test]
fn a_hundred_and_twenty_thousand_entries() {
    let mut tree = MemTree::new();
    tree.dir("large");
    for number in 0..120_000 {
        // About 27 pairs of these have the same hash.
        tree.add(format!("large/{number:x}-entry"), Kind::Fifo);
    }
    tree.dir("large/below");
    tree.file("large/below/file", Content::dense(vec![1; 100]));
    round_trip(&mut [tree]);
}

#[test]
fn long_names() {
    let mut tree = MemTree::new();
    for length in [48, 49, 50, 51, 254, 255] {
        let directory = format!("{length}");
        tree.dir(&directory);
        for last in b'a'..=b'e' {
            let mut name = vec![b'n'; length];
            name[length - 1] = last;
            tree.add(path(&directory, &name), Kind::Fifo);
        }
    }
    tree.dir("many");
    for number in 0..2500 {
        tree.add(format!("many/{number:0255}"), Kind::Fifo);
    }
    round_trip(&mut [tree]);
}

#[test]
fn any_bytes() {
    let mut tree = MemTree::new();
    for byte in (1..=255).filter(|byte| *byte != b'/') {
        if byte != b'.' {
            tree.add(path("", &[byte]), Kind::Fifo);
        }
        tree.add(path("", &[byte, b'.', byte]), Kind::Fifo);
        tree.symlink(path("", &[b'l', byte]), [b'/', byte, b'/', byte]);
    }
    round_trip(&mut [tree]);
}

#[test]
fn deep() {
    let mut tree = MemTree::new();
    let mut path = PathBuf::new();
    for depth in 0..1500 {
        path.push(if depth % 100 == 0 {
            "d".repeat(255)
        } else {
            "d".to_owned()
        });
        tree.dir(&path);
    }
    tree.file(path.join("file"), Content::dense(vec![7]));
    round_trip(&mut [tree]);
}

#[test]
fn wide_and_deep() {
    let mut tree = MemTree::new();
    for a in 0..20 {
        tree.dir(format!("{a}"));
        for b in 0..20 {
            tree.dir(format!("{a}/{b}"));
            for c in 0..5 {
                tree.file(format!("{a}/{b}/{c}"), Content::dense(vec![a, b, c]));
            }
        }
    }
    round_trip(&mut [tree]);
}

/// Names of 16 bytes that have the same hash whatever the salt.
///
/// The hash is linear in the bits of names of one length, so bits whose changes cancel each other
/// out are found by elimination. Only the low 4 bits of every byte are used: `@` to `O`.
fn colliding_names(count: usize) -> Vec<[u8; 16]> {
    let base = [b'@'; 16];
    let effect = |bits: u64| {
        let mut name = base;
        for (number, byte) in name.iter_mut().enumerate() {
            *byte |= (bits >> (4 * number) & 0xF) as u8;
        }
        (name, zap::hash(&name, 1) ^ zap::hash(&base, 1))
    };
    let mut pivots: Vec<(u64, u64)> = Vec::new();
    let mut kernel = Vec::new();
    for bit in 0..64 {
        let (mut bits, mut change) = (1 << bit, effect(1 << bit).1);
        for (pivot_bits, pivot) in &pivots {
            if change & (1 << (63 - pivot.leading_zeros())) != 0 {
                change ^= pivot;
                bits ^= pivot_bits;
            }
        }
        if change == 0 {
            kernel.push(bits);
        } else {
            pivots.push((bits, change));
        }
    }
    assert!(kernel.len() >= 32);
    (0..count)
        .map(|number| {
            let chosen = kernel
                .iter()
                .enumerate()
                .filter(|(bit, _)| number >> bit & 1 != 0);
            effect(chosen.fold(0, |all, (_, bits)| all ^ bits)).0
        })
        .collect()
}

#[test]
fn colliding_hashes() {
    let names = colliding_names(300);
    assert!(
        names
            .iter()
            .all(|name| zap::hash(name, 99) == zap::hash(&names[0], 99))
    );
    let mut tree = MemTree::new();
    tree.dir("micro");
    tree.dir("fat");
    for name in &names {
        tree.add(path("micro", name), Kind::Fifo);
    }
    for name in &names[..200] {
        tree.add(path("fat", name), Kind::Fifo);
    }
    for number in 0..3000 {
        tree.add(format!("fat/entry{number}"), Kind::Fifo);
    }
    let received = round_trip(&mut [tree]);
    assert_eq!(received[0].raw("/fat", "blksz"), "16384");
}

/// More names of one hash than a leaf holds: ZFS itself could not.
#[test]
fn too_many_colliding_hashes() {
    let mut tree = MemTree::new();
    tree.dir("fat");
    for name in colliding_names(2100) {
        tree.add(path("fat", &name), Kind::Fifo);
    }
    let error = write_filesystem(&mut tree, std::io::sink(), &options(), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, WriteError::Unstorable { path, .. } if path == Path::new("fat")));
    assert!(
        error.to_string().starts_with("/fat can't be stored in ZFS"),
        "{error}"
    );
}
