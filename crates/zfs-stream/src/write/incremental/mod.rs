//! Writes what changed since a snapshot.
//!
//! The base is read twice: the caller makes its table of files of the first reading; during the second, every object is
//! compared with the file of the tree that it is, and written if it differs. So objects keep their numbers, of files only the
//! blocks that differ travel, and nothing but the table is in memory. New objects come after all of the base.

mod announcement;
mod contents;
mod layouts;
mod scan;
mod wanted;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use self::announcement::Announcement;
use self::scan::{Scan, Xattr};
use super::file::block_size;
use super::filesystem::{XattrSource, announce, hidden_directory, hidden_file, salt, write_hidden};
use super::output::{Records, Sealer};
use super::records::RecordWriter;
use super::zap::{Collision, Zap};
use super::znode::Znodes;
use super::{At as _, BATCH, Progress, StreamOptions, WriteError, check};
use crate::format::record::{
    Begin, FLAG_CLONE, FLAG_FREERECORDS, FLAG_SPILL_BLOCK, MAGIC, OBJSET_FILESYSTEM,
    VERSION_SA_SPILL,
};
use crate::format::znode::{ObjectType, ZPL_VERSION};
use crate::read::{Attributes as BaseAttributes, Dnode, Event, Filesystem, Node, Snapshot};
use crate::tree::{Kind, LeftOut, Tree};

/// What an incremental stream is a change to.
pub struct BaseSnapshot<'a, R> {
    /// Its files, of a first reading.
    pub files: &'a Filesystem,
    /// A second reading, at its start.
    pub snapshot: Snapshot<R>,
    /// The directory whose place the tree takes, as a path from the root; what is outside stays as it is. Empty for the
    /// root.
    pub directory: &'a [u8],
    /// Which extended attributes, by name, the tree can't have: files keep them as they are in the base.
    pub foreign: &'a dyn Fn(&[u8]) -> bool,
}

/// What an incremental stream holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncrementalSummary {
    /// Length of the stream in bytes.
    pub stream_bytes: u64,
    /// Files of the tree, with its root, each counted once however many links it has.
    pub files: u64,
    /// Those that are not in the base.
    pub new: u64,
    /// Those that differ from the base in content or metadata.
    pub changed: u64,
    /// Files of the base that are not in the tree.
    pub removed: u64,
    /// Bytes of file contents in the stream.
    pub written: u64,
    /// Sockets, which are left out.
    pub sockets: LeftOut,
}

/// Writes to `out` what changes `base` to `tree`, as a stream that is received as a clone of the base's snapshot. Only file
/// systems of ZPL version 5 can be bases, which all since 2010 are.
///
/// The tree is read twice, its metadata and extended attributes three times. The same tree, base and options give the same bytes.
///
/// # Memory
///
/// Besides the base's table, 80 bytes and the name for each file of the tree.
pub fn write_incremental<T: Tree, R: Read, W: Write>(
    base: BaseSnapshot<'_, R>,
    tree: &mut T,
    out: W,
    options: &StreamOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<IncrementalSummary, WriteError> {
    check(options)?;
    let unsuitable = |why: String| Err(WriteError::Unsuitable(why));
    if base.files.version != ZPL_VERSION {
        return unsuitable(format!(
            "its file system is of version {}, and only version 5 is supported",
            base.files.version
        ));
    }
    if base.files.is_normalized {
        return unsuitable("its file names are normalized or case-insensitive".to_owned());
    }
    let Some(top) = base
        .files
        .find(base.directory)
        .filter(|node| node.kind == Kind::Directory)
    else {
        return unsuitable(format!(
            "it has no directory {}",
            String::from_utf8_lossy(base.directory)
        ));
    };
    let root = tree.metadata(Path::new("")).at("read", Path::new(""))?;
    if root.kind != Kind::Directory {
        return Err(WriteError::Unstorable {
            path: PathBuf::new(),
            reason: "it is no directory",
        });
    }
    let scan = Scan::of(tree, base.files, base.foreign, top)?;
    let layouts = layouts::Layouts::new(base.files)?;
    let mut to_name = [0; 256];
    to_name[..options.to_name.len()].copy_from_slice(options.to_name.as_bytes());
    let begin = Begin {
        magic: MAGIC.into(),
        versioninfo: VERSION_SA_SPILL.into(),
        creation_time: options.creation_time.into(),
        objset_type: OBJSET_FILESYSTEM.into(),
        flags: (FLAG_CLONE | FLAG_FREERECORDS | FLAG_SPILL_BLOCK).into(),
        to_guid: options.to_guid.into(),
        from_guid: base.snapshot.header().to_guid.into(),
        to_name,
    };
    let total = scan.file_bytes;
    let incremental = Incremental {
        files: base.files,
        foreign: base.foreign,
        order: scan.by_object(),
        removed: removed(base.files, base.directory, &scan)?,
        next_object: scan.next_object,
        scan,
        tree,
        out: RecordWriter::new(Sealer::new(out), Records::new(BATCH), &begin),
        znodes: Znodes::with_layouts(layouts.numbers.clone()),
        layouts,
        freeing: None,
        xattrs: Vec::new(),
        summary: IncrementalSummary::default(),
        progress: Progress { done: 0, total },
        report: progress,
    };
    incremental.write(base.snapshot)
}

/// Objects of the base that are not in the tree any more, sorted; with the hidden ones of extended attributes.
fn removed(base: &Filesystem, directory: &[u8], scan: &Scan) -> Result<Vec<u64>, WriteError> {
    let mut kept: Vec<u64> = scan
        .files
        .iter()
        .map(|file| file.object)
        .filter(|object| *object < scan.first_new)
        .collect();
    kept.sort_unstable();
    let mut removed = Vec::new();
    let mut names: Vec<u64> = Vec::new();
    let walked: Result<(), std::convert::Infallible> = base.walk(directory, &mut |_, node| {
        if node.links > 1 && node.kind != Kind::Directory {
            names.push(node.object);
        }
        if kept.binary_search(&node.object).is_err() {
            removed.push(node.object);
            removed.extend(hidden(base, node));
        } else if scan.stale_xattrs.contains(&node.object) {
            removed.extend(hidden(base, node));
        }
        Ok(())
    });
    let Ok(()) = walked;
    names.sort_unstable();
    for same in names.chunk_by(|one, other| one == other) {
        let Some(node) = same.first().and_then(|object| base.node(*object)) else {
            continue;
        };
        if u64::from(node.links) != same.len() as u64 {
            return Err(WriteError::Unsuitable(format!(
                "object {} has names outside of /{}",
                node.object,
                String::from_utf8_lossy(directory)
            )));
        }
    }
    removed.sort_unstable();
    removed.dedup();
    Ok(removed)
}

/// The hidden objects that hold a file's extended attributes.
fn hidden<'a>(base: &'a Filesystem, node: &Node) -> impl Iterator<Item = u64> + use<'a> {
    let directory = node.xattr_directory();
    let entries = base.entries(directory).map(|(_, object)| object);
    std::iter::once(directory)
        .filter(|object| *object != 0)
        .chain(entries)
}

/// Extended attributes to be written, as hidden files.
struct NewXattrs {
    owner: u64,
    uid: u64,
    gid: u64,
    mtime: (i64, u32),
    /// Object of the directory; those of the attributes follow.
    first: u64,
    xattrs: Vec<Xattr>,
}

struct Incremental<'a, T, W> {
    files: &'a Filesystem,
    foreign: &'a dyn Fn(&[u8]) -> bool,
    scan: Scan,
    /// Indexes of files by object.
    order: Vec<u32>,
    /// Objects to be freed, sorted.
    removed: Vec<u64>,
    layouts: layouts::Layouts,
    tree: &'a mut T,
    out: RecordWriter<Sealer<W>>,
    znodes: Znodes,
    next_object: u64,
    /// Objects to be freed before the next record.
    freeing: Option<(u64, u64)>,
    xattrs: Vec<NewXattrs>,
    summary: IncrementalSummary,
    progress: Progress,
    report: &'a mut dyn FnMut(Progress),
}

impl<T: Tree, W: Write> Incremental<'_, T, W> {
    fn write<R: Read>(
        mut self,
        mut snapshot: Snapshot<R>,
    ) -> Result<IncrementalSummary, WriteError> {
        (self.report)(self.progress);
        let order = std::mem::take(&mut self.order);
        let mut files = order.iter().copied().peekable();
        let mut dnode = Dnode::default();
        let mut more = next_object(&mut snapshot, &mut dnode)?;
        while more {
            let object = dnode.object;
            while files
                .next_if(|file| self.scan.files[*file as usize].object < object)
                .is_some()
            {}
            let file = files.next_if(|file| self.scan.files[*file as usize].object == object);
            if self.removed.binary_search(&object).is_ok() {
                self.free(object)?;
            } else if let Some(file) = file {
                more = self.kept(file, &mut dnode, &mut snapshot)?;
                continue;
            } else if object == self.files.layouts_object && self.layouts.is_new {
                self.flush()?;
                self.layouts.write(object, &mut self.out)?;
            }
            more = next_object(&mut snapshot, &mut dnode)?;
        }
        self.flush()?;
        drop(snapshot);
        for file in files {
            self.new_file(file)?;
        }
        while !self.xattrs.is_empty() {
            for xattrs in std::mem::take(&mut self.xattrs) {
                self.hidden_files(&xattrs)?;
            }
        }
        self.summary.files = self.scan.files.len() as u64;
        self.summary.sockets = std::mem::take(&mut self.scan.sockets);
        self.summary.stream_bytes = self.out.finish()?;
        Ok(self.summary)
    }

    /// Has an object freed.
    fn free(&mut self, object: u64) -> Result<(), WriteError> {
        if self
            .files
            .node(object)
            .is_some_and(|node| !node.is_hidden())
        {
            self.summary.removed += 1;
        }
        match &mut self.freeing {
            Some((_, end)) if *end == object => *end += 1,
            _ => {
                self.flush()?;
                self.freeing = Some((object, object + 1));
            }
        }
        Ok(())
    }

    /// Writes what is still to be freed.
    fn flush(&mut self) -> Result<(), WriteError> {
        match self.freeing.take() {
            Some((first, end)) => self.out.free_objects(first, end),
            None => Ok(()),
        }
    }

    /// Writes what changed of a file of the base. Returns whether there is another object, which `dnode` then is.
    fn kept<R: Read>(
        &mut self,
        index: u32,
        dnode: &mut Dnode,
        snapshot: &mut Snapshot<R>,
    ) -> Result<bool, WriteError> {
        let files = self.files;
        let object = dnode.object;
        let node = files
            .node(object)
            .ok_or_else(|| snapshot.error("the base changed between two readings"))?;
        let registry = files.registry.as_ref();
        let old = BaseAttributes::read(dnode.bonus_type, &dnode.bonus, None, registry)
            .map_err(|problem| snapshot.error(problem))?;
        let wanted = self.wanted(index, Some((node, &old, dnode)))?;
        if node.kind == Kind::File {
            return self.kept_contents(index, node, wanted, dnode, snapshot);
        }
        let object_type = match node.kind {
            Kind::Directory => ObjectType::Directory,
            _ => ObjectType::File,
        };
        let mut announcement = self.pack(object, object_type, &wanted);
        let mut differs = wanted.differs;
        if node.kind == Kind::Directory && !self.same_entries(index, object) {
            differs = true;
            self.flush()?;
            let entries = self.scan.entries(index);
            let zap = Zap::new(&entries, salt(object), entries.handles())
                .map_err(|Collision| too_many_collisions(self.scan.path(index)))?;
            announcement.make(zap.block_size() as u32, dnode, &mut self.out)?;
            self.out.free(object, 0, u64::MAX)?;
            zap.write(&entries, (object, object_type.number()), &mut self.out)?;
        } else if differs {
            self.flush()?;
            announcement.make(dnode.block_size, dnode, &mut self.out)?;
        }
        announcement.finish(&mut self.out)?;
        self.summary.changed += u64::from(differs);
        Ok(next_object(snapshot, dnode)?)
    }

    /// Whether a directory of the base has the entries it is to have.
    fn same_entries(&self, index: u32, object: u64) -> bool {
        let entries = self.scan.entries(index);
        let new = entries.iter().map(|(name, object, _)| (name, object));
        self.files.entries(object).eq(new)
    }

    /// Writes a file that is not in the base.
    fn new_file(&mut self, index: u32) -> Result<(), WriteError> {
        let file = self.scan.files[index as usize];
        let wanted = self.wanted(index, None)?;
        self.summary.new += 1;
        let none = Dnode::default();
        if file.kind == Kind::Directory {
            let mut announcement = self.pack(file.object, ObjectType::Directory, &wanted);
            let entries = self.scan.entries(index);
            let zap = Zap::new(&entries, salt(file.object), entries.handles())
                .map_err(|Collision| too_many_collisions(self.scan.path(index)))?;
            announcement.make(zap.block_size() as u32, &none, &mut self.out)?;
            let id = (file.object, ObjectType::Directory.number());
            zap.write(&entries, id, &mut self.out)?;
            return announcement.finish(&mut self.out);
        }
        let size = if file.kind == Kind::File {
            wanted.metadata.size
        } else {
            0
        };
        let mut announcement = self.pack(file.object, ObjectType::File, &wanted);
        announcement.make(block_size(size) as u32, &none, &mut self.out)?;
        if let Some(opened) = wanted.file.filter(|_| size > 0) {
            self.new_contents(index, opened, &wanted.metadata, block_size(size))?;
        }
        announcement.finish(&mut self.out)
    }

    /// Writes the hidden directory of extended attributes and the attributes, which are files.
    fn hidden_files(&mut self, new: &NewXattrs) -> Result<(), WriteError> {
        let source = XattrSource {
            xattrs: &new.xattrs,
            first: new.first + 1,
        };
        let handles = (0..new.xattrs.len() as u32).map(|handle| (handle, handle));
        let zap = Zap::new(&source, salt(new.first), handles)
            .map_err(|Collision| too_many_collisions(PathBuf::new()))?;
        let mut attributes = hidden_directory(new.owner, (new.uid, new.gid), new.mtime, zap.len());
        let id = (new.first, ObjectType::Directory.number());
        announce(
            &mut self.out,
            &mut self.znodes,
            id,
            zap.block_size(),
            &attributes,
        )?;
        zap.write(&source, id, &mut self.out)?;
        for ((_, value), object) in new.xattrs.iter().zip(new.first + 1..) {
            hidden_file(&mut attributes, new.first, value);
            write_hidden(&mut self.out, &mut self.znodes, object, &attributes, value)?;
        }
        Ok(())
    }
}

/// Goes on to the next object of the base; false if there is none.
fn next_object<R: Read>(
    snapshot: &mut Snapshot<R>,
    dnode: &mut Dnode,
) -> Result<bool, crate::read::ReadError> {
    while let Some(event) = snapshot.next()? {
        if let Event::Object(next) = event {
            dnode.clone_from(next);
            return Ok(true);
        }
    }
    Ok(false)
}

fn changed(path: PathBuf, what: &'static str) -> WriteError {
    WriteError::Changed { path, what }
}

fn too_many_collisions(path: PathBuf) -> WriteError {
    WriteError::Unstorable {
        path,
        reason: "too many of its names have the same hash",
    }
}
