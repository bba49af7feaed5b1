//! Writing from another thread: the same stream, the same errors.

use std::io;
use std::path::Path;

use zfs_stream::{WriteError, write_filesystem_threaded};

use crate::support::{Content, Fault, MemTree, options, stream_of};

/// A tree whose stream fills all buffers several times.
fn tree() -> MemTree {
    let mut tree = MemTree::new();
    tree.dir("dir");
    let mut seed = 1_u32;
    for number in 0..40_u32 {
        let bytes = (0..500_000 + number)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        tree.file(format!("dir/{number}"), Content::dense(bytes));
    }
    for number in 0..3000 {
        tree.symlink(format!("link{number}"), "t".repeat(number + 1));
    }
    tree
}

fn written(tree: &mut MemTree, out: impl io::Write + Send) -> Result<u64, WriteError> {
    write_filesystem_threaded(tree, out, &options(), &mut |_| {})
        .map(|summary| summary.stream_bytes)
}

#[test]
fn same_stream() {
    for mut tree in [MemTree::new(), tree()] {
        let expected = stream_of(&mut tree);
        let mut stream = Vec::new();
        assert_eq!(
            written(&mut tree, &mut stream).unwrap(),
            expected.len() as u64
        );
        assert!(stream == expected);
    }
}

/// Takes some bytes, then does as it is told.
struct Until(usize, fn() -> io::Result<usize>);

impl io::Write for Until {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.0);
        self.0 -= count;
        if count == 0 { (self.1)() } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.0 == 0 {
            (self.1)()?;
        }
        Ok(())
    }
}

#[test]
fn full_disk() {
    let mut tree = tree();
    let length = stream_of(&mut tree).len();
    for room in [0, 1, 500_000, 3_000_000, 10_000_000, length - 1, length] {
        let out = Until(room, || Err(io::ErrorKind::StorageFull.into()));
        let result = written(&mut tree, out);
        let is_it = matches!(&result, Err(WriteError::Output(source))
            if source.kind() == io::ErrorKind::StorageFull);
        assert!(is_it, "{room}: {result:?}");
    }
    let enough = Until(length + 1, || Err(io::ErrorKind::StorageFull.into()));
    assert!(written(&mut tree, enough).is_ok());
}

#[test]
fn faults_of_the_tree() {
    for path in ["", "dir", "dir/0", "dir/39", "link2999"] {
        let mut tree = tree();
        tree.faults.insert(path.into(), Fault::Unreadable);
        let result = written(&mut tree, io::sink());
        let is_it =
            matches!(&result, Err(WriteError::Read { path: at, .. }) if at == Path::new(path));
        assert!(is_it, "{path}: {result:?}");
    }
    let mut tree = tree();
    tree.faults.insert("dir/20".into(), Fault::Shrinks);
    let mut stream = Vec::new();
    let result = written(&mut tree, &mut stream);
    assert!(
        matches!(&result, Err(WriteError::Changed { .. })),
        "{result:?}"
    );
    // What there is has no end, so that nobody takes it for a stream.
    assert!(stream.len() > 1_000_000);
    assert_ne!(stream[stream.len() - 312..][..4], [5, 0, 0, 0]);
}

#[test]
#[should_panic(expected = "the output's own")]
fn a_panic_comes_out() {
    let _ = written(&mut tree(), Until(2_000_000, || panic!("the output's own")));
}

#[test]
fn useless_options() {
    let mut options = options();
    options.to_guid = 0;
    let mut stream = Vec::new();
    let result = write_filesystem_threaded(&mut MemTree::new(), &mut stream, &options, &mut |_| {});
    assert!(matches!(result, Err(WriteError::Options(_))));
    assert!(stream.is_empty());
}
