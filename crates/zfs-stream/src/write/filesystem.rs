//! The second reading: every object in the order of its number.
//!
//! Numbers ascend, and a directory names those of its entries. So when a directory is written its
//! entries are given the next numbers, and wait in a queue: breadth first. The hidden directory and
//! files of extended attributes are numbered when their owner is written, and wait in the same queue.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::rc::Rc;

use super::file::block_size;
use super::links::Links;
use super::listing::{Children, DirectorySource, Listing, child_path, name_problem};
use super::output::{Output, Records};
use super::records::{NewObject, RecordWriter};
use super::survey::Survey;
use super::system::{self, ROOT};
use super::zap::{Collision, Entry, Source, Zap};
use super::znode::{Attributes, Znodes};
use super::{At as _, Progress, StreamOptions, Summary, WriteError};
use crate::format::record::{
    Begin, FLAG_FREERECORDS, FLAG_SPILL_BLOCK, MAGIC, OBJSET_FILESYSTEM, VERSION_SA_SPILL,
};
use crate::format::znode::{BONUS_SA, FLAG_XATTR, MAX_TARGET, ObjectType, dirent, rdev};
use crate::tree::{Kind, Metadata, Tree};

/// Writes a file system.
pub(super) struct Filesystem<'a, T, O> {
    pub(super) tree: &'a mut T,
    pub(super) out: RecordWriter<O>,
    /// What is being written, relative to the root.
    pub(super) path: PathBuf,
    pub(super) progress: Progress,
    pub(super) report: &'a mut dyn FnMut(Progress),
    links: Links,
    listings_identify: bool,
    next_object: u64,
    queue: VecDeque<Batch>,
    znodes: Znodes,
    summary: Summary,
}

/// A directory whose path is still needed.
struct Directory {
    parent: Option<Rc<Directory>>,
    name: Box<[u8]>,
}

impl Drop for Directory {
    /// Without recursion, since trees may be deeper than the stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut directory) = parent.and_then(Rc::into_inner) {
            parent = directory.parent.take();
        }
    }
}

/// Path of an entry, or of the root.
fn full_path(directory: Option<&Rc<Directory>>, name: &[u8]) -> PathBuf {
    let mut names = vec![name];
    let mut at = directory;
    while let Some(directory) = at {
        names.push(&directory.name);
        at = directory.parent.as_ref();
    }
    names
        .iter()
        .rev()
        .map(|name| OsStr::from_bytes(name))
        .collect()
}

/// Objects that have their numbers and wait to be written.
enum Batch {
    /// Entries of a directory, whose object is given.
    Children(Rc<Directory>, u64, Children),
    /// Extended attributes.
    Xattrs(Owner),
}

/// What has extended attributes.
struct Owner {
    directory: Option<Rc<Directory>>,
    name: Box<[u8]>,
    object: u64,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    /// Object of the hidden directory; those of the attributes follow.
    first: u64,
    count: u64,
}

/// Where what is being written hangs.
#[derive(Clone, Copy)]
struct Place<'a> {
    directory: Option<&'a Rc<Directory>>,
    parent: u64,
    object: u64,
}

impl<'a, T: Tree, O: Output> Filesystem<'a, T, O> {
    /// Starts the stream.
    pub fn start(
        tree: &'a mut T,
        output: O,
        records: Records,
        options: &StreamOptions,
        survey: Survey,
        report: &'a mut dyn FnMut(Progress),
    ) -> Result<Self, WriteError> {
        let mut to_name = [0; 256];
        to_name[..options.to_name.len()].copy_from_slice(options.to_name.as_bytes());
        let begin = Begin {
            magic: MAGIC.into(),
            versioninfo: VERSION_SA_SPILL.into(),
            creation_time: options.creation_time.into(),
            objset_type: OBJSET_FILESYSTEM.into(),
            flags: (FLAG_FREERECORDS | FLAG_SPILL_BLOCK).into(),
            to_guid: options.to_guid.into(),
            from_guid: 0.into(),
            to_name,
        };
        let mut out = RecordWriter::new(output, records, &begin);
        system::write(&mut out)?;
        Ok(Self {
            tree,
            out,
            path: PathBuf::new(),
            progress: Progress {
                done: 0,
                total: survey.file_bytes,
            },
            report,
            links: survey.links,
            listings_identify: survey.listings_identify,
            next_object: ROOT + 1,
            queue: VecDeque::new(),
            znodes: Znodes::default(),
            summary: Summary::default(),
        })
    }

    /// Writes all of it.
    pub fn write(mut self) -> Result<Summary, WriteError> {
        (self.report)(self.progress);
        let place = Place {
            directory: None,
            parent: ROOT,
            object: ROOT,
        };
        self.entry(place, &[], Kind::Directory, None)?;
        while let Some(batch) = self.queue.pop_front() {
            match batch {
                Batch::Children(directory, object, children) => {
                    self.children(&directory, object, &children)?;
                }
                Batch::Xattrs(owner) => self.xattrs(&owner)?,
            }
        }
        if !self.links.all_met() {
            return Err(WriteError::Changed {
                path: PathBuf::new(),
                what: "gained or lost hard links",
            });
        }
        self.summary.file_bytes = self.progress.done;
        self.summary.stream_bytes = self.out.finish()?;
        Ok(self.summary)
    }

    fn children(
        &mut self,
        directory: &Rc<Directory>,
        parent: u64,
        children: &Children,
    ) -> Result<(), WriteError> {
        self.path = full_path(directory.parent.as_ref(), &directory.name);
        let (mut offset, mut object) = (0, children.first);
        while let Some(child) = children.at(offset) {
            offset = child.end;
            if child.repeated {
                continue;
            }
            self.path.push(OsStr::from_bytes(child.name));
            let place = Place {
                directory: Some(directory),
                parent,
                object,
            };
            self.entry(place, child.name, child.kind, child.link)?;
            self.path.pop();
            object += 1;
        }
        Ok(())
    }

    /// Writes a file of any kind, `self.path`.
    fn entry(
        &mut self,
        place: Place<'_>,
        name: &[u8],
        kind: Kind,
        link: Option<u32>,
    ) -> Result<(), WriteError> {
        let (metadata, mut file) = if kind == Kind::File {
            let opened = self.tree.open_regular(&self.path);
            opened.at("open", &self.path)?
        } else {
            let metadata = self.tree.metadata(&self.path).at("read", &self.path)?;
            (metadata, None)
        };
        if metadata.kind != kind {
            return Err(self.changed("became another kind of file"));
        }
        self.summary.files += 1;
        let mut attributes = Attributes {
            mode: metadata.kind.mode_bits() | metadata.mode & 0o7777,
            uid: metadata.uid.into(),
            gid: metadata.gid.into(),
            mtime: metadata.mtime,
            parent: place.parent,
            links: link.map_or(1, |number| u64::from(self.links.get(number).count)),
            xattr: self.number_xattrs(place, name, &metadata, file.as_mut())?,
            ..Attributes::default()
        };
        match kind {
            Kind::Directory => return self.directory(place, name, attributes),
            Kind::File => attributes.size = metadata.size,
            Kind::CharDevice | Kind::BlockDevice => {
                attributes.rdev = Some(rdev(metadata.device.major, metadata.device.minor));
            }
            Kind::Symlink => {
                let target = self.tree.read_link(&self.path).at("read", &self.path)?;
                attributes.target = target.into_os_string().into_vec();
                let length = attributes.target.len();
                if length == 0 || length > MAX_TARGET || attributes.target.contains(&0) {
                    let reason = "its target must have 1 to 4095 bytes, none of them NUL";
                    return Err(self.unstorable(reason));
                }
                attributes.size = length as u64;
            }
            Kind::Fifo | Kind::Socket => {}
        }
        let size = if kind == Kind::File { metadata.size } else { 0 };
        self.znode(
            (place.object, ObjectType::File.number()),
            block_size(size),
            &attributes,
        )?;
        match file {
            Some(file) if size > 0 => self.contents(place.object, file, &metadata)?,
            _ => {}
        }
        self.spill(place.object)
    }

    fn directory(
        &mut self,
        place: Place<'_>,
        name: &[u8],
        mut attributes: Attributes,
    ) -> Result<(), WriteError> {
        self.summary.directories += 1;
        let listing = self.list()?;
        let (path, sockets) = (&self.path, &mut self.summary.sockets);
        let children = listing.number(path, self.next_object, &mut self.links, |socket| {
            sockets.add(|| child_path(path, socket));
        })?;
        self.next_object += children.objects;
        let source = DirectorySource {
            children: &children,
            links: &self.links,
        };
        let zap = Zap::new(&source, salt(place.object), children.handles())
            .map_err(|Collision| self.unstorable("too many of its names have the same hash"))?;
        attributes.size = zap.len() as u64 + 2;
        attributes.links = children.subdirectories + 2;
        let id = (place.object, ObjectType::Directory.number());
        // Not self.znode, for self.links is borrowed.
        announce(
            &mut self.out,
            &mut self.znodes,
            id,
            zap.block_size(),
            &attributes,
        )?;
        zap.write(&source, id, &mut self.out)?;
        self.spill(place.object)?;
        if children.objects > 0 {
            let directory = Directory {
                parent: place.directory.cloned(),
                name: name.into(),
            };
            let batch = Batch::Children(Rc::new(directory), place.object, children);
            self.queue.push_back(batch);
        }
        Ok(())
    }

    /// Lists the directory `self.path`, with entries of several links tagged.
    fn list(&mut self) -> Result<Listing, WriteError> {
        let links = &self.links;
        let tag = |identity| links.find(identity).unwrap_or(Listing::NO_LINK);
        if self.listings_identify || links.is_empty() {
            return Listing::read(self.tree, &self.path, |identity| {
                identity.map_or(Listing::NO_LINK, tag)
            });
        }
        let mut listing = Listing::read(self.tree, &self.path, |_| Listing::NO_LINK)?;
        let mut tags = Vec::new();
        for (offset, entry) in listing.iter() {
            if matches!(entry.kind, Kind::Directory | Kind::Socket) {
                continue;
            }
            self.path.push(OsStr::from_bytes(entry.name));
            let metadata = self.tree.metadata(&self.path).at("read", &self.path)?;
            self.path.pop();
            if let Some(number) = links.find(metadata.identity) {
                tags.push((offset, number));
            }
        }
        for (offset, number) in tags {
            listing.set_tag(offset, number);
        }
        Ok(listing)
    }

    /// Gives numbers to the extended attributes of `self.path`; returns their directory's, or 0.
    fn number_xattrs(
        &mut self,
        place: Place<'_>,
        name: &[u8],
        metadata: &Metadata,
        file: Option<&mut T::File>,
    ) -> Result<u64, WriteError> {
        if !metadata.has_xattrs {
            return Ok(0);
        }
        let xattrs = match file {
            Some(file) => self.tree.xattrs_of(file, &self.path),
            None => self.tree.xattrs(&self.path),
        };
        let count = xattrs.at("read the attributes of", &self.path)?.len();
        if count == 0 {
            return Ok(0);
        }
        let first = self.next_object;
        self.next_object += 1 + count as u64;
        self.queue.push_back(Batch::Xattrs(Owner {
            directory: place.directory.cloned(),
            name: name.into(),
            object: place.object,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime,
            first,
            count: count as u64,
        }));
        Ok(first)
    }

    /// Writes the hidden directory of extended attributes and the attributes, which are files.
    fn xattrs(&mut self, owner: &Owner) -> Result<(), WriteError> {
        self.path = full_path(owner.directory.as_ref(), &owner.name);
        let mut xattrs = self
            .tree
            .xattrs(&self.path)
            .at("read the attributes of", &self.path)?;
        xattrs.sort_unstable();
        if xattrs.len() as u64 != owner.count {
            return Err(self.changed("gained or lost extended attributes"));
        }
        let is_bad = |name: &OsString| name_problem(name.as_bytes()).is_some();
        if xattrs.iter().any(|(name, _)| is_bad(name))
            || xattrs.windows(2).any(|pair| pair[0].0 == pair[1].0)
        {
            return Err(self.unstorable("an extended attribute of it has no proper name"));
        }
        let source = XattrSource {
            xattrs: &xattrs,
            first: owner.first + 1,
        };
        let handles = (0..xattrs.len() as u32).map(|handle| (handle, handle));
        let zap = Zap::new(&source, salt(owner.first), handles).map_err(|Collision| {
            self.unstorable("too many names of its extended attributes have the same hash")
        })?;
        let ids = (owner.uid.into(), owner.gid.into());
        let mut attributes = hidden_directory(owner.object, ids, owner.mtime, zap.len());
        let directory = (owner.first, ObjectType::Directory.number());
        self.znode(directory, zap.block_size(), &attributes)?;
        zap.write(&source, directory, &mut self.out)?;
        for ((_, value), object) in xattrs.iter().zip(owner.first + 1..) {
            hidden_file(&mut attributes, owner.first, value);
            write_hidden(&mut self.out, &mut self.znodes, object, &attributes, value)?;
        }
        Ok(())
    }

    fn znode(
        &mut self,
        id: (u64, u32),
        block_size: usize,
        attributes: &Attributes,
    ) -> Result<(), WriteError> {
        announce(&mut self.out, &mut self.znodes, id, block_size, attributes)
    }

    /// Writes the spill block of the object announced last, if it has one.
    fn spill(&mut self, object: u64) -> Result<(), WriteError> {
        match self.znodes.spill() {
            Some(spill) => self.out.spill(object, spill),
            None => Ok(()),
        }
    }

    fn changed(&self, what: &'static str) -> WriteError {
        WriteError::Changed {
            path: self.path.clone(),
            what,
        }
    }

    fn unstorable(&self, reason: &'static str) -> WriteError {
        WriteError::Unstorable {
            path: self.path.clone(),
            reason,
        }
    }
}

/// The hidden directory of extended attributes, as `zfs_get_xattrdir` makes it.
pub(super) fn hidden_directory(
    owner: u64,
    (uid, gid): (u64, u64),
    mtime: (i64, u32),
    entries: usize,
) -> Attributes {
    Attributes {
        mode: Kind::Directory.mode_bits() | 0o1777,
        uid,
        gid,
        mtime,
        size: entries as u64 + 2,
        links: 2,
        parent: owner,
        flags: FLAG_XATTR,
        ..Attributes::default()
    }
}

/// Makes of a hidden directory's attributes those of a file in it.
pub(super) fn hidden_file(attributes: &mut Attributes, directory: u64, value: &[u8]) {
    attributes.mode = Kind::File.mode_bits() | 0o644;
    attributes.links = 1;
    attributes.parent = directory;
    attributes.size = value.len() as u64;
}

/// Writes a file whose content is at hand.
pub(super) fn write_hidden<O: Output>(
    out: &mut RecordWriter<O>,
    znodes: &mut Znodes,
    object: u64,
    attributes: &Attributes,
    value: &[u8],
) -> Result<(), WriteError> {
    let size = block_size(attributes.size);
    let id = (object, ObjectType::File.number());
    announce(out, znodes, id, size, attributes)?;
    for (part, number) in value.chunks(size).zip(0..) {
        out.block(id, number * size as u64, size, |block| {
            let (start, rest) = block.split_at_mut(part.len());
            start.copy_from_slice(part);
            rest.fill(0);
            Ok(())
        })?;
    }
    Ok(())
}

/// Announces an object with its attributes.
pub(super) fn announce<O: Output>(
    out: &mut RecordWriter<O>,
    znodes: &mut Znodes,
    (number, object_type): (u64, u32),
    block_size: usize,
    attributes: &Attributes,
) -> Result<(), WriteError> {
    znodes.pack(attributes);
    out.object(&NewObject {
        number,
        object_type,
        block_size,
        bonus: Some((BONUS_SA, znodes.bonus())),
        has_spill: znodes.spill().is_some(),
    })
}

/// Extended attributes as their directory's ZAP has them.
pub(super) struct XattrSource<'a> {
    pub xattrs: &'a [(OsString, Vec<u8>)],
    pub first: u64,
}

impl Source for XattrSource<'_> {
    fn name(&self, handle: u32) -> &[u8] {
        self.xattrs[handle as usize].0.as_bytes()
    }

    fn number(&self, entry: &Entry) -> u64 {
        dirent(Kind::File.mode_bits(), self.first + u64::from(entry.rank))
    }
}

/// A salt for the hashes of a ZAP: odd, hence not 0, and the same every time.
pub(super) fn salt(object: u64) -> u64 {
    object.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}
