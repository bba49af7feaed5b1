//! Lays the files of an image into a tree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mibe_sandbox::Root;
use serde::{Deserialize, Serialize};
use zfs_stream::Kind;
use zfs_stream::read::{Event, Filesystem, Node, ReadError, Snapshot};

/// Attributes in which a sandbox keeps owners: those of an image are of another one.
const OURS: &[u8] = b"user.mibe.";

/// Why an image could not be laid.
#[derive(Debug, thiserror::Error)]
pub enum UnpackImageError {
    /// The image could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The image has no such directory.
    #[error("there is no directory /{0} in the image")]
    NoDirectory(String),
    /// The image has no such file.
    #[error("there is no /{0} in the image")]
    NoPath(String),
    /// A file could not be laid.
    #[error("{action} /{}: {source}", path.display())]
    Lay {
        /// What was tried.
        action: &'static str,
        /// Path in the tree.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The second reading differs from the first.
    #[error("the image changed while it was read")]
    Changed,
}

/// What was laid of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Files of every kind, each counted once however many links it has.
    pub files: u64,
    /// Bytes of regular files.
    pub bytes: u64,
    /// Sockets, which mean nothing without their process and were left out.
    pub sockets: u64,
    /// Extended attributes that Linux has no place for and were left out.
    pub lost_xattrs: u64,
}

/// Whether Linux has no place for an extended attribute in the tree of an image: any but `user.*`, and those that sandboxes
/// keep for themselves.
pub(crate) fn is_foreign(name: &[u8]) -> bool {
    !name.starts_with(b"user.") || name.starts_with(OURS)
}

/// Where the work stands.
struct Laying<'a> {
    root: &'a Root,
    files: &'a Filesystem,
    unpacked: Unpacked,
    /// Regular files that have content, by object, and their first paths.
    contents: Vec<(u64, PathBuf)>,
    /// The first path of files with several links.
    firsts: HashMap<u64, PathBuf>,
    /// Further paths.
    links: Vec<(u64, PathBuf)>,
    directories: Vec<(u64, PathBuf)>,
}

/// What to lay of an image.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// The directory whose content is laid; empty for the image's root.
    pub top: &'a [u8],
    /// Paths below it that are wanted, with what is in them and the directories above them; all if there are none.
    pub paths: &'a [Vec<u8>],
}

impl Selection<'_> {
    /// Whether a file is wanted, or a directory above one that is.
    fn takes(&self, path: &[u8]) -> bool {
        let is_above = |above: &[u8], below: &[u8]| {
            above.is_empty()
                || below
                    .strip_prefix(above)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        self.paths.is_empty()
            || self
                .paths
                .iter()
                .any(|wanted| is_above(wanted, path) || is_above(path, wanted))
    }
}

/// Lays a selection of an image into `root`, which is empty: `files` is of a first reading, `snapshot` a second
/// one at its start. Owners of other domains than the system's own lose their domain.
///
/// # Errors
///
/// The image is damaged, or a file can't be laid; what was laid before it stays.
pub fn unpack_image<R: Read>(
    root: &Root,
    files: &Filesystem,
    snapshot: Snapshot<R>,
    selection: &Selection<'_>,
) -> Result<Unpacked, UnpackImageError> {
    let mut laying = Laying {
        root,
        files,
        unpacked: Unpacked::default(),
        contents: Vec::new(),
        firsts: HashMap::new(),
        links: Vec::new(),
        directories: Vec::new(),
    };
    let top = selection.top;
    if files
        .find(top)
        .is_none_or(|node| node.kind != Kind::Directory)
    {
        let top = String::from_utf8_lossy(top).into_owned();
        return Err(UnpackImageError::NoDirectory(top));
    }
    for path in selection.paths {
        let inside = [top, path].join(&b'/');
        if files.find(&inside).is_none() {
            return Err(UnpackImageError::NoPath(mibe_image::listing::escape(path)));
        }
    }
    let skip = if top.is_empty() { 0 } else { top.len() + 1 };
    files.walk(top, &mut |path, node| {
        let path = path.get(skip..).unwrap_or_default();
        if !selection.takes(path) {
            return Ok(());
        }
        laying.place(Path::new(OsStr::from_bytes(path)), node)
    })?;
    laying.fill(snapshot)?;
    for (object, path) in std::mem::take(&mut laying.links) {
        let first = laying
            .firsts
            .get(&object)
            .ok_or(UnpackImageError::Changed)?;
        root.hard_link(first, &path)
            .map_err(failed("link", &path))?;
    }
    // Last, for a directory may forbid to write into it, and its time changes with each file.
    for (object, path) in std::mem::take(&mut laying.directories).iter().rev() {
        let node = files.node(*object).ok_or(UnpackImageError::Changed)?;
        laying.dress(node, path)?;
    }
    Ok(laying.unpacked)
}

fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> UnpackImageError + 'a {
    move |source| UnpackImageError::Lay {
        action,
        path: path.to_owned(),
        source,
    }
}

impl Laying<'_> {
    /// Makes a file, but for what is in it.
    fn place(&mut self, path: &Path, node: &Node) -> Result<(), UnpackImageError> {
        if node.kind == Kind::Socket {
            self.unpacked.sockets += 1;
            return Ok(());
        }
        if node.kind != Kind::Directory && node.links > 1 {
            if self.firsts.contains_key(&node.object) {
                self.links.push((node.object, path.to_owned()));
                return Ok(());
            }
            self.firsts.insert(node.object, path.to_owned());
        }
        self.unpacked.files += 1;
        match node.kind {
            Kind::Directory => {
                if !path.as_os_str().is_empty() {
                    self.root
                        .create_dir(path, 0o700)
                        .map_err(failed("make", path))?;
                }
                self.directories.push((node.object, path.to_owned()));
                return Ok(());
            }
            Kind::File if node.size > 0 => {
                self.contents.push((node.object, path.to_owned()));
                return Ok(());
            }
            Kind::File => {
                let file = self.root.create_bare(path).map_err(failed("make", path))?;
                return self.dress_file(node, path, &file);
            }
            Kind::Symlink => {
                let target = Path::new(OsStr::from_bytes(node.target()));
                self.root
                    .symlink(target, path)
                    .map_err(failed("make", path))?;
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo | Kind::Socket => {
                let device = node.device();
                let mode = node.kind.mode_bits() | 0o600;
                self.root
                    .mknod(path, mode, device.major, device.minor)
                    .map_err(failed("make", path))?;
            }
        }
        self.dress(node, path)
    }

    /// Makes the regular files that have content, in the order in which it comes.
    fn fill<R: Read>(&mut self, mut snapshot: Snapshot<R>) -> Result<(), UnpackImageError> {
        let mut contents = std::mem::take(&mut self.contents);
        contents.sort_unstable_by_key(|(object, _)| *object);
        let mut contents = contents.into_iter().peekable();
        let mut open: Option<(File, &Node, PathBuf)> = None;
        while let Some(event) = snapshot.next()? {
            match event {
                Event::Object(dnode) => {
                    let object = dnode.object;
                    self.close(open.take())?;
                    if contents.peek().is_some_and(|(next, _)| *next < object) {
                        return Err(UnpackImageError::Changed);
                    }
                    if let Some((_, path)) = contents.next_if(|(next, _)| *next == object) {
                        let node = self.files.node(object).ok_or(UnpackImageError::Changed)?;
                        let file = self.root.create_bare(&path);
                        open = Some((file.map_err(failed("make", &path))?, node, path));
                    }
                }
                Event::Data { offset, bytes } => {
                    let Some((file, node, path)) = &open else {
                        continue;
                    };
                    // Blocks are whole where files are not.
                    let count = node.size.saturating_sub(offset).min(bytes.len() as u64);
                    file.write_all_at(&bytes[..count as usize], offset)
                        .map_err(failed("write", path))?;
                }
                Event::Spill(_) => {}
            }
        }
        self.close(open)?;
        if contents.next().is_some() {
            return Err(UnpackImageError::Changed);
        }
        Ok(())
    }

    fn close(&mut self, open: Option<(File, &Node, PathBuf)>) -> Result<(), UnpackImageError> {
        let Some((file, node, path)) = open else {
            return Ok(());
        };
        self.unpacked.bytes += node.size;
        let length = file.metadata().map_err(failed("read", &path))?.len();
        if length != node.size {
            // It ends with a hole.
            file.set_len(node.size).map_err(failed("write", &path))?;
        }
        self.dress_file(node, &path, &file)
    }

    /// The same as [`Self::dress`] for a regular file that is open.
    fn dress_file(
        &mut self,
        node: &Node,
        path: &Path,
        file: &File,
    ) -> Result<(), UnpackImageError> {
        self.set_xattrs(node, path)?;
        let owner = (node.uid as u32, node.gid as u32);
        let mtime = (node.mtime, node.mtime_nanoseconds);
        self.root
            .dress(file, owner, node.mode.into(), mtime)
            .map_err(failed("set owner, mode and time of", path))
    }

    fn set_xattrs(&mut self, node: &Node, path: &Path) -> Result<(), UnpackImageError> {
        for xattr in self.files.xattrs(node) {
            let fits = matches!(node.kind, Kind::File | Kind::Directory) && !is_foreign(xattr.name);
            match xattr.value.filter(|_| fits) {
                Some(value) => self
                    .root
                    .set_xattr(path, OsStr::from_bytes(xattr.name), value)
                    .map_err(failed("set an extended attribute of", path))?,
                None => self.unpacked.lost_xattrs += 1,
            }
        }
        Ok(())
    }

    /// Gives what was laid its owner, attributes, mode and time, in this order: the mode may forbid to set attributes, and a
    /// change of the owner clears set-uid bits.
    fn dress(&mut self, node: &Node, path: &Path) -> Result<(), UnpackImageError> {
        self.root
            .chown(path, node.uid as u32, node.gid as u32)
            .map_err(failed("change the owner of", path))?;
        self.set_xattrs(node, path)?;
        if node.kind != Kind::Symlink {
            self.root
                .chmod(path, node.mode.into())
                .map_err(failed("change the mode of", path))?;
        }
        self.root
            .set_mtime(path, node.mtime, node.mtime_nanoseconds)
            .map_err(failed("set the time of", path))
    }
}
