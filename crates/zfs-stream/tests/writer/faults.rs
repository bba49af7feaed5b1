//! What goes wrong is an error that says where.

use std::io;
use std::path::Path;

use zfs_stream::{DirTree, Kind, StreamOptions, WriteError, write_filesystem};

use crate::support::{Content, Fault, MemTree, options};

fn error_of(tree: &mut MemTree) -> WriteError {
    write_filesystem(tree, io::sink(), &options(), &mut |_| {}).unwrap_err()
}

fn tree() -> MemTree {
    let mut tree = MemTree::new();
    tree.dir("dir");
    for size in [1, 1000, 131_072, 500_000] {
        tree.file(format!("dir/{size}"), Content::dense(vec![3; size]));
    }
    tree.file(
        "dir/sparse",
        Content::sparse(1 << 20, vec![(0, vec![1; 300_000])]),
    );
    tree.symlink("dir/link", "target");
    tree.xattr("dir/1000", b"user.x", b"y");
    tree
}

#[test]
fn unreadable() {
    for path in ["", "dir", "dir/1", "dir/link"] {
        let mut tree = tree();
        tree.faults.insert(path.into(), Fault::Unreadable);
        let error = error_of(&mut tree);
        let is_it = matches!(&error, WriteError::Read { path: at, source, .. }
            if at == Path::new(path) && source.kind() == io::ErrorKind::PermissionDenied);
        assert!(is_it, "{path}: {error}");
        assert!(
            error.to_string().contains(&format!(" /{path}: ")),
            "{error}"
        );
    }
}

#[test]
fn contents_and_attributes() {
    for (fault, message) in [
        (Fault::BreaksOff, "can't read /dir/PATH: the disk is broken"),
        (Fault::Shrinks, "/dir/PATH shrank while it was being read"),
        (Fault::Grows, "/dir/PATH grew while it was being read"),
    ] {
        for name in ["1", "1000", "131072", "500000"] {
            let mut tree = tree();
            tree.faults.insert(Path::new("dir").join(name), fault);
            let error = error_of(&mut tree).to_string();
            assert!(error.starts_with(&message.replace("PATH", name)), "{error}");
        }
    }
    let mut tree = tree();
    tree.faults.insert("dir/1000".into(), Fault::NoXattrs);
    let error = error_of(&mut tree).to_string();
    assert_eq!(
        error,
        "can't read the attributes of /dir/1000: attributes are broken"
    );
}

/// Takes some bytes, then the disk is full.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.0);
        self.0 -= count;
        if count == 0 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(count)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.0 == 0 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

#[test]
fn full_disk() {
    let mut whole = Vec::new();
    write_filesystem(&mut tree(), &mut whole, &options(), &mut |_| {}).unwrap();
    for room in (0..=whole.len()).step_by(9973).chain([whole.len()]) {
        let result = write_filesystem(&mut tree(), Full(room), &options(), &mut |_| {});
        let is_it = matches!(&result, Err(WriteError::Output(source))
            if source.kind() == io::ErrorKind::StorageFull);
        assert!(is_it, "{room}: {result:?}");
    }
    let enough = Full(whole.len() + 1);
    write_filesystem(&mut tree(), enough, &options(), &mut |_| {}).unwrap();
}

#[test]
fn what_zfs_cannot_hold() {
    type Change<'a> = &'a dyn Fn(&mut MemTree);
    let cases: [(Change<'_>, &str); 5] = [
        (
            &|tree| _ = tree.add("n".repeat(256), Kind::Fifo),
            "more than 255 bytes",
        ),
        (&|tree| _ = tree.add("a\0b", Kind::Fifo), "a slash or NUL"),
        (
            &|tree| _ = tree.symlink("l", vec![b'x'; 4096]),
            "1 to 4095 bytes",
        ),
        (&|tree| _ = tree.symlink("l", vec![]), "1 to 4095 bytes"),
        (
            &|tree| tree.xattr("dir", b"user.a/b", b""),
            "no proper name",
        ),
    ];
    for (make, message) in cases {
        let mut tree = tree();
        make(&mut tree);
        let error = error_of(&mut tree);
        assert!(matches!(error, WriteError::Unstorable { .. }), "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn useless_options() {
    for (to_name, to_guid) in [
        ("zones/x", 1),
        ("@final", 1),
        ("zones/x@", 1),
        ("zones/\0@final", 1),
        ("zones/x@final", 0),
        (&"x@".repeat(200), 1),
    ] {
        let options = StreamOptions {
            to_name: to_name.to_owned(),
            to_guid,
            creation_time: 0,
        };
        let mut written = Vec::new();
        let result = write_filesystem(&mut tree(), &mut written, &options, &mut |_| {});
        assert!(matches!(result, Err(WriteError::Options(_))), "{to_name}");
        assert!(written.is_empty());
    }
}

#[test]
fn no_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(DirTree::new(file.path()).is_err());
    assert!(DirTree::new(Path::new("/does/not/exist")).is_err());
}

/// A tree that loses a link when told to.
struct Changing<'a>(MemTree, &'a std::cell::Cell<bool>);
impl zfs_stream::Tree for Changing<'_> {
    type File = crate::support::memory::MemFile;
    fn metadata(&mut self, path: &Path) -> io::Result<zfs_stream::Metadata> {
        self.0.metadata(path)
    }
    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<zfs_stream::DirEntry>> {
        let mut entries = self.0.read_dir(path)?;
        if self.1.get() {
            entries.retain(|entry| entry.name != "another");
        }
        Ok(entries)
    }
    fn read_link(&mut self, path: &Path) -> io::Result<std::path::PathBuf> {
        self.0.read_link(path)
    }
    fn open(&mut self, path: &Path) -> io::Result<Self::File> {
        self.0.open(path)
    }
    fn next_data(
        &mut self,
        file: &mut Self::File,
        offset: u64,
    ) -> io::Result<Option<zfs_stream::DataRange>> {
        self.0.next_data(file, offset)
    }
    fn xattrs(&mut self, path: &Path) -> io::Result<Vec<(std::ffi::OsString, Vec<u8>)>> {
        self.0.xattrs(path)
    }
}

/// A tree that changes between the survey and the writing of it.
#[test]
fn links_that_come_and_go() {
    let mut tree = tree();
    tree.link("dir/another", "dir/1000");
    let cell = std::cell::Cell::new(false);
    let mut tree = Changing(tree, &cell);
    // The first report comes when the survey is done.
    let result = write_filesystem(&mut tree, io::sink(), &options(), &mut |_| cell.set(true));
    let error = result.unwrap_err().to_string();
    assert!(
        error.starts_with("/ gained or lost hard links while"),
        "{error}"
    );
}
