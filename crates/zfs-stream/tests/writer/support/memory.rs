//! A tree in memory: any owner, any device, any fault, no root needed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zfs_stream::{DataRange, Device, DirEntry, Identity, Kind, Metadata, Tree};

use super::{escape, letter, sha256, shown};

/// Contents of a file: ranges of data with holes between them.
#[derive(Debug, Clone, Default)]
pub struct Content {
    pub size: u64,
    /// Start and bytes, ascending and apart.
    pub data: Vec<(u64, Vec<u8>)>,
    /// Whether the tree knows of the holes; reading one is an error then.
    pub mapped: bool,
}

impl Content {
    pub fn dense(bytes: Vec<u8>) -> Self {
        Self {
            size: bytes.len() as u64,
            data: vec![(0, bytes)],
            mapped: false,
        }
    }

    pub fn sparse(size: u64, data: Vec<(u64, Vec<u8>)>) -> Self {
        Self {
            size,
            data,
            mapped: true,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut all = vec![0; self.size as usize];
        for (start, bytes) in &self.data {
            all[*start as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        all
    }
}

/// What goes wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Metadata, listing, link or attributes can't be read, or the file not be opened.
    Unreadable,
    /// Reading fails half-way.
    BreaksOff,
    /// It ends before its size.
    Shrinks,
    /// It goes on after its size.
    Grows,
    /// Its attributes can't be read.
    NoXattrs,
}

/// A file of any kind.
#[derive(Debug, Clone)]
pub struct Node {
    pub metadata: Metadata,
    pub content: Rc<Content>,
    pub target: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The tree.
#[derive(Clone)]
pub struct MemTree {
    nodes: BTreeMap<PathBuf, Node>,
    children: BTreeMap<PathBuf, Vec<OsString>>,
    next_inode: u64,
    /// Whether listings come in reverse.
    pub reversed: bool,
    /// What listings say of identities: true ones if `Some(true)`, false ones, or none.
    pub identities: Option<bool>,
    pub faults: BTreeMap<PathBuf, Fault>,
}

impl std::fmt::Debug for MemTree {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.listing().values())
            .finish()
    }
}

impl MemTree {
    /// An empty root.
    pub fn new() -> Self {
        let mut tree = Self {
            nodes: BTreeMap::new(),
            children: BTreeMap::new(),
            next_inode: 1,
            reversed: false,
            identities: Some(true),
            faults: BTreeMap::new(),
        };
        tree.insert(PathBuf::new(), Kind::Directory);
        tree
    }

    fn insert(&mut self, path: PathBuf, kind: Kind) -> &mut Node {
        let inode = self.next_inode;
        self.next_inode += 1;
        if kind == Kind::Directory {
            self.children.insert(path.clone(), Vec::new());
        }
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink => 0o777,
            _ => 0o644,
        };
        let metadata = Metadata {
            kind,
            mode,
            uid: 0,
            gid: 0,
            links: 1,
            size: 0,
            mtime: (1_600_000_000, 123_456_789),
            device: Device::default(),
            identity: Identity { device: 7, inode },
            sparse: false,
            has_xattrs: false,
        };
        let node = Node {
            metadata,
            content: Rc::default(),
            target: Vec::new(),
            xattrs: Vec::new(),
        };
        self.nodes.entry(path).or_insert(node)
    }

    fn attach(&mut self, path: &Path) {
        let parent = path.parent().expect("not the root");
        let name = path.file_name().expect("a name").to_owned();
        assert!(
            !self.nodes.contains_key(path),
            "{} is there",
            path.display()
        );
        self.children
            .get_mut(parent)
            .expect("its directory first")
            .push(name);
    }

    /// Adds a file of any kind; its directory must be there, and it not.
    pub fn add(&mut self, path: impl AsRef<Path>, kind: Kind) -> &mut Node {
        let path = path.as_ref();
        self.attach(path);
        self.insert(path.to_owned(), kind)
    }

    pub fn dir(&mut self, path: impl AsRef<Path>) -> &mut Node {
        self.add(path, Kind::Directory)
    }

    pub fn file(&mut self, path: impl AsRef<Path>, content: Content) -> &mut Node {
        let node = self.add(path, Kind::File);
        node.metadata.size = content.size;
        node.metadata.sparse = content.mapped;
        node.content = Rc::new(content);
        node
    }

    pub fn symlink(&mut self, path: impl AsRef<Path>, target: impl Into<Vec<u8>>) -> &mut Node {
        let node = self.add(path, Kind::Symlink);
        node.target = target.into();
        node
    }

    /// Another link to a file that is there.
    pub fn link(&mut self, path: impl AsRef<Path>, original: impl AsRef<Path>) {
        let path = path.as_ref();
        self.attach(path);
        let identity = self.nodes[original.as_ref()].metadata.identity;
        let mut node = self.nodes[original.as_ref()].clone();
        node.metadata.links += 1;
        for other in self.nodes.values_mut() {
            if other.metadata.identity == identity {
                other.metadata.links += 1;
            }
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Takes a file or a directory with all that is in it away; the root stays.
    pub fn remove(&mut self, path: impl AsRef<Path>) {
        let path = path.as_ref().to_owned();
        let parent = path.parent().expect("not the root");
        let name = path.file_name().expect("a name");
        if let Some(names) = self.children.get_mut(parent) {
            names.retain(|other| other != name);
        }
        let gone: Vec<PathBuf> = self
            .paths()
            .into_iter()
            .filter(|other| other.starts_with(&path))
            .collect();
        for path in gone {
            self.children.remove(&path);
            let Some(node) = self.nodes.remove(&path) else {
                continue;
            };
            let identity = node.metadata.identity;
            for other in self.nodes.values_mut() {
                if other.metadata.identity == identity {
                    other.metadata.links -= 1;
                }
            }
        }
    }

    /// Gives a file or a directory with all that is in it another path.
    pub fn rename(&mut self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let (from, to) = (from.as_ref().to_owned(), to.as_ref().to_owned());
        self.attach(&to);
        let parent = from.parent().expect("not the root");
        if let Some(names) = self.children.get_mut(parent) {
            names.retain(|other| Some(other.as_os_str()) != from.file_name());
        }
        let moved: Vec<PathBuf> = self
            .paths()
            .into_iter()
            .filter(|other| other.starts_with(&from))
            .collect();
        for path in moved {
            let rest = path.strip_prefix(&from).expect("inside");
            let new = if rest.as_os_str().is_empty() {
                to.clone()
            } else {
                to.join(rest)
            };
            if let Some(node) = self.nodes.remove(&path) {
                self.nodes.insert(new.clone(), node);
            }
            if let Some(names) = self.children.remove(&path) {
                self.children.insert(new, names);
            }
        }
    }

    /// Changes all paths that lead to the same file.
    pub fn edit(&mut self, path: impl AsRef<Path>, change: impl Fn(&mut Node)) {
        let identity = self.nodes[path.as_ref()].metadata.identity;
        for node in self.nodes.values_mut() {
            if node.metadata.identity == identity {
                change(node);
            }
        }
    }

    pub fn kind(&self, path: impl AsRef<Path>) -> Kind {
        self.nodes[path.as_ref()].metadata.kind
    }

    /// All paths, the root first.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.nodes.keys().cloned().collect()
    }

    pub fn contains(&self, path: &Path) -> bool {
        self.nodes.contains_key(path)
    }

    pub fn node(&mut self, path: impl AsRef<Path>) -> &mut Node {
        self.nodes.get_mut(path.as_ref()).expect("no such path")
    }

    pub fn xattr(&mut self, path: impl AsRef<Path>, name: &[u8], value: &[u8]) {
        let node = self.node(path);
        node.metadata.has_xattrs = true;
        node.xattrs.push((name.to_owned(), value.to_owned()));
    }

    /// What the oracle should print of it, by path.
    pub fn listing(&self) -> BTreeMap<String, String> {
        let mut links = BTreeMap::<_, u64>::new();
        for node in self.nodes.values() {
            *links.entry(node.metadata.identity.inode).or_default() += 1;
        }
        let mut listing = BTreeMap::new();
        for (path, node) in &self.nodes {
            let metadata = &node.metadata;
            if metadata.kind == Kind::Socket {
                continue;
            }
            let shown = shown(path);
            let (mut nlink, mut size) = (links[&metadata.identity.inode], metadata.size);
            let mut more = String::new();
            match metadata.kind {
                Kind::File => more = format!(" sha256={}", sha256(&node.content.bytes())),
                Kind::Directory => {
                    let kinds: Vec<_> = self.children[path]
                        .iter()
                        .map(|name| self.nodes[&path.join(name)].metadata.kind)
                        .filter(|kind| *kind != Kind::Socket)
                        .collect();
                    size = 2 + kinds.len() as u64;
                    let directories = kinds.iter().filter(|kind| **kind == Kind::Directory);
                    nlink = 2 + directories.count() as u64;
                }
                Kind::Symlink => {
                    size = node.target.len() as u64;
                    more = format!(" target={}", escape(&node.target));
                }
                Kind::CharDevice | Kind::BlockDevice => {
                    let Device { major, minor } = metadata.device;
                    more = format!(" rdev={:x}", u64::from(major) << 32 | u64::from(minor));
                }
                Kind::Fifo | Kind::Socket => {}
            }
            let common = |letter: &str, path: &str, mode, nlink, size| {
                let Metadata {
                    uid,
                    gid,
                    mtime: (seconds, nanoseconds),
                    ..
                } = metadata;
                // The oracle prints seconds without a sign.
                let seconds = *seconds as u64;
                format!(
                    "{letter} {path} mode={mode:04o} uid={uid} gid={gid} nlink={nlink} \
                     size={size} mtime={seconds}.{nanoseconds:09}"
                )
            };
            let letter = letter(metadata.kind).to_string();
            let line = common(&letter, &shown, metadata.mode, nlink, size) + &more;
            listing.insert(shown.clone(), line);
            for (name, value) in &node.xattrs {
                let path = format!("{shown}<xattr>/{}", escape(name));
                let line = common("Xf", &path, 0o644, 1, value.len() as u64);
                listing.insert(path, format!("{line} sha256={}", sha256(value)));
            }
        }
        listing
    }

    fn get(&self, path: &Path) -> io::Result<&Node> {
        if self.faults.get(path) == Some(&Fault::Unreadable) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        self.nodes
            .get(path)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// An open file, read in pieces of odd lengths.
pub struct MemFile {
    content: Rc<Content>,
    position: u64,
    fault: Option<Fault>,
}

impl io::Read for MemFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.content.size;
        let half = size / 2;
        match self.fault {
            Some(Fault::BreaksOff) if self.position >= half => {
                return Err(io::Error::other("the disk is broken"));
            }
            Some(Fault::Shrinks) if self.position >= half => return Ok(0),
            _ => {}
        }
        let end = match self.fault {
            Some(Fault::BreaksOff | Fault::Shrinks) => half,
            Some(Fault::Grows) => size + 1,
            _ => size,
        };
        let count = (buffer.len() as u64).min(end - self.position).min(77_777) as usize;
        let buffer = &mut buffer[..count];
        buffer.fill(0);
        let (from, to) = (self.position, self.position + count as u64);
        let mut covered = 0;
        for (start, bytes) in &self.content.data {
            let (low, high) = (from.max(*start), to.min(start + bytes.len() as u64));
            if low < high {
                buffer[(low - from) as usize..(high - from) as usize]
                    .copy_from_slice(&bytes[(low - start) as usize..(high - start) as usize]);
                covered += high - low;
            }
        }
        if self.content.mapped && covered < count as u64 {
            return Err(io::Error::other("a hole was read"));
        }
        self.position = to;
        Ok(count)
    }
}

impl Tree for MemTree {
    type File = MemFile;

    fn metadata(&mut self, path: &Path) -> io::Result<Metadata> {
        Ok(self.get(path)?.metadata.clone())
    }

    fn read_dir(&mut self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.get(path)?;
        let entry = |name: &OsString| {
            let Metadata {
                kind, mut identity, ..
            } = self.nodes[&path.join(name)].metadata;
            if self.identities == Some(false) {
                identity.inode += 1_000_000;
            }
            DirEntry {
                name: name.clone(),
                kind,
                identity: self.identities.map(|_| identity),
            }
        };
        let mut entries: Vec<_> = self.children[path].iter().map(entry).collect();
        if self.reversed {
            entries.reverse();
        }
        Ok(entries)
    }

    fn read_link(&mut self, path: &Path) -> io::Result<PathBuf> {
        Ok(PathBuf::from(OsString::from_vec(
            self.get(path)?.target.clone(),
        )))
    }

    fn open(&mut self, path: &Path) -> io::Result<MemFile> {
        let content = Rc::clone(&self.get(path)?.content);
        Ok(MemFile {
            content,
            position: 0,
            fault: self.faults.get(path).copied(),
        })
    }

    fn next_data(&mut self, file: &mut MemFile, offset: u64) -> io::Result<Option<DataRange>> {
        assert!(file.content.mapped && file.position == offset || file.position <= offset);
        let next = file
            .content
            .data
            .iter()
            .map(|(start, bytes)| (*start, start + bytes.len() as u64))
            .find(|(_, end)| *end > offset)
            .map(|(start, end)| DataRange {
                start: start.max(offset),
                end,
            });
        if let Some(range) = next {
            file.position = range.start;
        }
        Ok(next)
    }

    fn xattrs(&mut self, path: &Path) -> io::Result<Vec<(OsString, Vec<u8>)>> {
        if self.faults.get(path) == Some(&Fault::NoXattrs) {
            return Err(io::Error::other("attributes are broken"));
        }
        let node = self.get(path)?;
        let mut xattrs: Vec<_> = node
            .xattrs
            .iter()
            .map(|(name, value)| (OsStr::from_bytes(name).to_owned(), value.clone()))
            .collect();
        if self.reversed {
            xattrs.reverse();
        }
        Ok(xattrs)
    }
}
