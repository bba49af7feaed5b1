//! A tree of this host as the ZFS stream of a zone's dataset.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use mibe_image::file::hex;
use mibe_sandbox::{Kind, Root};
use sha2::{Digest as _, Sha256};

use zfs_stream::{
    BaseSnapshot, DataRange, Device, DirEntry, Identity, Metadata, StreamOptions, Tree, WriteError,
    write_filesystem_threaded, write_incremental,
};

use crate::base_image::ChainFiles;
use crate::capture::{CaptureOptions, Captured, Difference};
use crate::local::jobs::ZONE_ROOT;
use crate::unpack_image::is_foreign;

/// The tree of a build machine as the dataset of a zone: `root/` and `cores/` below a directory that only root enters.
struct Zonepath<'a> {
    root: &'a Root,
    epoch: i64,
}

/// Where a path of the dataset leads.
enum Place<'a> {
    Top,
    Cores,
    Inside(&'a Path),
}

/// Modes of the dataset's own directories, as the brands make them.
const TOP_MODE: u32 = 0o700;
const CORES_MODE: u32 = 0o755;

/// Device number of the dataset's own directories: none that a real file has.
const NO_DEVICE: u64 = u64::MAX;

impl Zonepath<'_> {
    fn place(path: &Path) -> io::Result<Place<'_>> {
        if path.as_os_str().is_empty() {
            return Ok(Place::Top);
        }
        if path == Path::new("cores") {
            return Ok(Place::Cores);
        }
        path.strip_prefix("root")
            .map(Place::Inside)
            .map_err(|_| io::ErrorKind::NotFound.into())
    }

    fn inside(path: &Path) -> io::Result<&Path> {
        match Self::place(path)? {
            Place::Inside(path) => Ok(path),
            Place::Top | Place::Cores => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn own(&self, mode: u32, inode: u64) -> Metadata {
        Metadata {
            kind: zfs_stream::Kind::Directory,
            mode,
            uid: 0,
            gid: 0,
            links: 2,
            size: 0,
            mtime: (self.epoch, 0),
            device: Device::default(),
            identity: Identity {
                device: NO_DEVICE,
                inode,
            },
            sparse: false,
            has_xattrs: false,
        }
    }

    fn convert(&self, metadata: &mibe_sandbox::Metadata) -> Metadata {
        let mtime = if metadata.mtime.0 >= self.epoch {
            (self.epoch, 0)
        } else {
            metadata.mtime
        };
        Metadata {
            kind: convert_kind(metadata.kind),
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            links: metadata.nlink,
            size: metadata.size,
            mtime,
            device: Device {
                major: metadata.rdev.0,
                minor: metadata.rdev.1,
            },
            identity: identity(metadata),
            sparse: metadata.blocks.saturating_mul(512) < metadata.size,
            has_xattrs: matches!(metadata.kind, Kind::File | Kind::Dir),
        }
    }
}

fn identity(metadata: &mibe_sandbox::Metadata) -> Identity {
    Identity {
        device: metadata.dev,
        inode: metadata.ino,
    }
}

fn convert_kind(kind: Kind) -> zfs_stream::Kind {
    use zfs_stream::Kind as To;
    match kind {
        Kind::File => To::File,
        Kind::Dir => To::Directory,
        Kind::Symlink => To::Symlink,
        Kind::Char => To::CharDevice,
        Kind::Block => To::BlockDevice,
        Kind::Fifo => To::Fifo,
        Kind::Socket => To::Socket,
    }
}

impl Tree for Zonepath<'_> {
    type File = File;

    fn metadata(&mut self, path: &Path) -> io::Result<Metadata> {
        match Self::place(path)? {
            Place::Top => Ok(self.own(TOP_MODE, 1)),
            Place::Cores => Ok(self.own(CORES_MODE, 2)),
            Place::Inside(path) => Ok(self.convert(&self.root.metadata(path)?)),
        }
    }

    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        match Self::place(path)? {
            Place::Top => Ok(["cores", "root"]
                .map(|name| DirEntry {
                    name: OsString::from(name),
                    kind: zfs_stream::Kind::Directory,
                    identity: None,
                })
                .into()),
            Place::Cores => Ok(Vec::new()),
            Place::Inside(path) => Ok(self
                .root
                .read_dir(path)?
                .into_iter()
                .map(|entry| DirEntry {
                    kind: convert_kind(entry.metadata.kind),
                    identity: Some(identity(&entry.metadata)),
                    name: entry.name,
                })
                .collect()),
        }
    }

    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.root.read_link(Self::inside(path)?)
    }

    fn open(&mut self, path: &Path) -> io::Result<File> {
        self.root.open(Self::inside(path)?)
    }

    fn next_data(&mut self, file: &mut File, offset: u64) -> io::Result<Option<DataRange>> {
        use rustix::fs::{SeekFrom, seek};
        use rustix::io::Errno;
        let start = match seek(&*file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                seek(&*file, SeekFrom::Start(offset))?;
                return Ok(Some(DataRange {
                    start: offset,
                    end: u64::MAX,
                }));
            }
            Err(error) => return Err(error.into()),
        };
        let end = seek(&*file, SeekFrom::Hole(start))?;
        seek(&*file, SeekFrom::Start(start))?;
        Ok(Some(DataRange { start, end }))
    }

    fn xattrs(&mut self, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        match Self::place(path)? {
            Place::Top | Place::Cores => Ok(Vec::new()),
            Place::Inside(path) => self.root.xattrs(path),
        }
    }

    fn xattrs_of(&mut self, file: &mut File, _: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        self.root.xattrs_of(file)
    }
}

/// Writes the tree of `root` as the dataset of a zone.
///
/// It is read twice: once for the digest that the guid comes of, since a stream's first record holds the guid
/// and a guid that is not of the content could make two images pass for one.
///
/// # Errors
///
/// A file could not be read, changed while it was read, or `out` could not be written; the text names the path.
pub fn capture(
    root: &Root,
    options: &CaptureOptions,
    out: impl Write + Send,
) -> Result<Captured, String> {
    let mut tree = Zonepath {
        root,
        epoch: options.epoch,
    };
    let mut digest = ContentDigest::default();
    digest
        .directory(&mut tree, Path::new(""))
        .map_err(|error| error.to_string())?;
    let chain = options.base.as_ref();
    let base = chain.map(ChainFiles::read).transpose()?;
    let snapshot = chain.map(ChainFiles::open).transpose()?;
    if let Some(snapshot) = &snapshot {
        // The same tree has other objects as a change to a base than it has by itself, and to another base.
        digest.hash.update(snapshot.header().to_guid.to_le_bytes());
    }
    let digest: [u8; 32] = digest.hash.finalize().into();
    // Zero means "no snapshot" in a stream.
    let guid = u64::from_le_bytes(std::array::from_fn(|index| digest[index])).max(1);
    let settings = StreamOptions {
        to_name: options.snapshot.clone(),
        to_guid: guid,
        creation_time: options.epoch.max(0) as u64,
    };
    let failed = |error: WriteError| match (&error, chain) {
        (WriteError::Base(error), Some(chain)) => chain.failed(error),
        _ => error.to_string(),
    };
    let (entries, sockets, difference) = if let (Some(files), Some(snapshot)) = (&base, snapshot) {
        let base = BaseSnapshot {
            files,
            snapshot,
            directory: ZONE_ROOT,
            foreign: &is_foreign,
        };
        let mut tree = Inside(tree);
        let summary =
            write_incremental(base, &mut tree, out, &settings, &mut |_| {}).map_err(failed)?;
        let difference = Difference {
            new: summary.new,
            changed: summary.changed,
            removed: summary.removed,
        };
        (summary.files, summary.sockets, Some(difference))
    } else {
        let summary =
            write_filesystem_threaded(&mut tree, out, &settings, &mut |_| {}).map_err(failed)?;
        (summary.files, summary.sockets, None)
    };
    Ok(Captured {
        guid,
        digest: hex(&digest),
        entries: Some(entries),
        sockets: sockets
            .first
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        difference,
        disk: None,
    })
}

/// What is in `root/` of a dataset, by itself.
struct Inside<'a>(Zonepath<'a>);

impl Inside<'_> {
    fn path(path: &Path) -> PathBuf {
        Path::new("root").join(path)
    }
}

impl Tree for Inside<'_> {
    type File = File;

    fn metadata(&mut self, path: &Path) -> io::Result<Metadata> {
        self.0.metadata(&Self::path(path))
    }

    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.read_dir(&Self::path(path))
    }

    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.0.read_link(&Self::path(path))
    }

    fn open(&mut self, path: &Path) -> io::Result<File> {
        self.0.open(&Self::path(path))
    }

    fn next_data(&mut self, file: &mut File, offset: u64) -> io::Result<Option<DataRange>> {
        self.0.next_data(file, offset)
    }

    fn xattrs(&mut self, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        self.0.xattrs(&Self::path(path))
    }

    fn xattrs_of(&mut self, file: &mut File, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        self.0.xattrs_of(file, path)
    }
}

/// SHA-256 over names, metadata and contents in the order of names.
#[derive(Default)]
struct ContentDigest {
    hash: Sha256,
    /// Files with several links, by identity: the content counts once.
    links: HashMap<Identity, u64>,
}

impl ContentDigest {
    fn directory(&mut self, tree: &mut Zonepath, path: &Path) -> io::Result<()> {
        let mut entries = tree.read_dir(path)?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        for entry in entries {
            let path = path.join(&entry.name);
            self.entry(tree, &path, &entry.name).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            if entry.kind == zfs_stream::Kind::Directory {
                self.directory(tree, &path)?;
            }
        }
        self.hash.update(b"end");
        Ok(())
    }

    fn entry(&mut self, tree: &mut Zonepath, path: &Path, name: &OsStr) -> io::Result<()> {
        use zfs_stream::Kind as K;
        let metadata = tree.metadata(path)?;
        self.bytes(name.as_encoded_bytes());
        let fields = [
            metadata.kind as u64,
            u64::from(metadata.mode),
            u64::from(metadata.uid),
            u64::from(metadata.gid),
            metadata.mtime.0.cast_unsigned(),
            u64::from(metadata.mtime.1),
            u64::from(metadata.device.major),
            u64::from(metadata.device.minor),
        ];
        for field in fields {
            self.hash.update(field.to_le_bytes());
        }
        if metadata.kind != K::Directory && metadata.links > 1 {
            let next = self.links.len() as u64;
            let number = *self.links.entry(metadata.identity).or_insert(next);
            self.hash.update(number.to_le_bytes());
            if number != next {
                return Ok(());
            }
        }
        match metadata.kind {
            K::File => {
                self.hash.update(metadata.size.to_le_bytes());
                let mut file = tree.open(path)?;
                let mut buffer = vec![0; 1 << 17];
                loop {
                    let count = file.read(&mut buffer)?;
                    if count == 0 {
                        break;
                    }
                    self.hash.update(&buffer[..count]);
                }
                return tree
                    .xattrs_of(&mut file, path)
                    .map(|xattrs| self.xattrs(&xattrs));
            }
            K::Symlink => {
                let target = tree.read_link(path)?;
                self.bytes(target.as_os_str().as_encoded_bytes());
            }
            _ => {}
        }
        if metadata.kind == K::Directory {
            self.xattrs(&tree.xattrs(path)?);
        }
        Ok(())
    }

    fn xattrs(&mut self, xattrs: &[(OsString, Vec<u8>)]) {
        for (name, value) in xattrs {
            self.bytes(name.as_encoded_bytes());
            self.bytes(value);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }
}
