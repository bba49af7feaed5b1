//! Makes the files of a snapshot out of its objects, in one reading.

use std::collections::HashMap;
use std::io::{self, Read};

use super::attributes::{Attributes, Registry};
use super::error::{Problem, ReadError};
use super::filesystem::Filesystem;
use super::layer::Dnode;
use super::node::{MAX_XATTR, Node};
use super::snapshot::{Event, Snapshot};
use super::zap::{Zap, ZapReader};
use crate::format::record::OBJSET_FILESYSTEM;
use crate::format::sa::{LAYOUTS_NAME, REGISTRY_NAME};
use crate::format::znode::{
    BONUS_SA, BONUS_ZNODE, FLAG_XATTR, MASTER_NODE, MAX_TARGET, ObjectType,
};
use crate::tree::Kind;

/// Newest ZPL version (`ZPL_VERSION`).
const NEWEST_VERSION: u64 = 5;

/// Bytes of data kept of files of which it is not known yet whether they are extended attributes.
const MAX_PENDING: usize = 64 << 20;

/// Takes the contents of files while a snapshot is read: those of all that are not directories, in the order of their
/// objects. Symbolic links and the like have some in old file systems.
pub trait Contents {
    /// What stands at an offset of a file; offsets ascend, what is between is zeroes.
    fn data(&mut self, object: u64, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// All of the file's data was told. `None` if its metadata can only be known later.
    fn end(&mut self, object: u64, attributes: Option<&Attributes>) -> io::Result<()>;
}

/// Contents that nobody wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoContents;

impl Contents for NoContents {
    fn data(&mut self, _: u64, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: u64, _: Option<&Attributes>) -> io::Result<()> {
        Ok(())
    }
}

/// The object at hand.
enum Current {
    /// Of no interest, but for its being there.
    Other,
    /// A table that the file system itself is kept in.
    System(ObjectType, ZapReader),
    /// A directory.
    Directory(ZapReader),
    /// A file, and the first of its data.
    File(Vec<u8>),
}

/// Files whose attributes could not be told when they came.
struct Pending {
    index: usize,
    bonus: Vec<u8>,
    spill: Option<Vec<u8>>,
    /// The whole content if it is small.
    data: Vec<u8>,
    is_whole: bool,
}

struct Index {
    filesystem: Filesystem,
    current: Current,
    dnode: Dnode,
    spill: Option<Vec<u8>>,
    is_whole: bool,
    attributes: Option<Attributes>,
    sa_master: Option<u64>,
    /// Registry and layouts, by object, until both are there.
    tables: HashMap<u64, Zap>,
    sa_tables: Option<(u64, u64)>,
    pending: Vec<Pending>,
    pending_bytes: usize,
    /// Other objects that are there.
    others: Vec<u64>,
}

impl Filesystem {
    /// Reads all of a snapshot, which must be of a file system, and gives the contents of files to `contents`.
    ///
    /// # Memory
    ///
    /// Some 130 bytes and the name for each file, whatever is in it; the targets of symbolic links and the extended
    /// attributes (values of up to 64 KiB). The largest directory twice while it is read. Where a file system was brought to version
    /// 5 when it had files already, the metadata of files is kept until the names of attributes come.
    ///
    /// # Errors
    ///
    /// The stream is damaged, not what it should be, or of a volume. Everything in the result can be relied upon:
    /// see [`Filesystem`].
    pub fn read<R: Read>(
        snapshot: &mut Snapshot<R>,
        contents: &mut dyn Contents,
    ) -> Result<Self, ReadError> {
        if snapshot.header().objset_type != OBJSET_FILESYSTEM {
            return Err(snapshot.error(Problem::Unsupported(
                "the stream is not of a file system, so there are no files in it",
            )));
        }
        let mut index = Index {
            filesystem: Filesystem::empty(),
            current: Current::Other,
            dnode: Dnode::default(),
            spill: None,
            is_whole: true,
            attributes: None,
            sa_master: None,
            tables: HashMap::new(),
            sa_tables: None,
            pending: Vec::new(),
            pending_bytes: 0,
            others: Vec::new(),
        };
        loop {
            let done = match snapshot.next()? {
                None => {
                    let done = index.object_is_complete(contents);
                    done.map_err(|problem| snapshot.error(problem))?;
                    break;
                }
                Some(Event::Object(dnode)) => index.object(dnode, contents),
                Some(Event::Data { offset, bytes }) => index.data(offset, bytes, contents),
                Some(Event::Spill(bytes)) => {
                    index.spill = Some(bytes.to_vec());
                    Ok(())
                }
            };
            done.map_err(|problem| {
                let mut error = snapshot.error(problem);
                error.place.object = Some(index.dnode.object);
                error
            })?;
        }
        let done = index.finish();
        done.map_err(|problem| snapshot.error(problem))?;
        let mut filesystem = index.filesystem;
        filesystem.check(snapshot)?;
        Ok(filesystem)
    }
}

impl Index {
    fn object(&mut self, dnode: &Dnode, contents: &mut dyn Contents) -> Result<(), Problem> {
        // What is wrong with the object before is found now.
        self.object_is_complete(contents)?;
        self.dnode.clone_from(dnode);
        self.filesystem.last_object = dnode.object;
        self.current = match ObjectType::new(dnode.object_type) {
            Some(ObjectType::File) => {
                self.attributes = self.attributes_now(None)?;
                Current::File(Vec::new())
            }
            Some(ObjectType::Directory) => Current::Directory(ZapReader::new(dnode.block_size)),
            Some(
                kind @ (ObjectType::Master
                | ObjectType::Unlinked
                | ObjectType::SaMaster
                | ObjectType::SaRegistry
                | ObjectType::SaLayouts),
            ) => Current::System(kind, ZapReader::new(dnode.block_size)),
            Some(ObjectType::Volume | ObjectType::VolumeProperties) | None => Current::Other,
        };
        Ok(())
    }

    fn data(
        &mut self,
        offset: u64,
        bytes: &[u8],
        contents: &mut dyn Contents,
    ) -> Result<(), Problem> {
        match &mut self.current {
            Current::Other => Ok(()),
            Current::System(_, zap) | Current::Directory(zap) => zap.data(offset, bytes),
            Current::File(start) => {
                contents
                    .data(self.dnode.object, offset, bytes)
                    .map_err(Problem::Output)?;
                // Kept: targets of links, and values of attributes. Of the rest only where it may be one.
                let room = match &self.attributes {
                    None => MAX_XATTR.min(MAX_PENDING.saturating_sub(self.pending_bytes)),
                    Some(one) if one.flags & FLAG_XATTR != 0 => MAX_XATTR,
                    Some(one) if one.kind() == Some(Kind::Symlink) => MAX_TARGET + 1,
                    Some(_) => 0,
                };
                if offset < room as u64 {
                    start.resize(offset as usize, 0);
                    let now = bytes.len().min(room - offset as usize);
                    start.extend_from_slice(&bytes[..now]);
                    self.is_whole &= now == bytes.len();
                } else {
                    self.is_whole = false;
                }
                Ok(())
            }
        }
    }

    /// The attributes of the object at hand, if they can be known by now. Without `spill` those of its bonus.
    fn attributes_now(&self, spill: Option<&[u8]>) -> Result<Option<Attributes>, Problem> {
        let kind = self.dnode.bonus_type;
        if kind == BONUS_SA && self.filesystem.registry.is_none() {
            return Ok(None);
        }
        if kind != BONUS_SA && kind != BONUS_ZNODE {
            return Ok(None);
        }
        let registry = self.filesystem.registry.as_ref();
        Attributes::read(kind, &self.dnode.bonus, spill, registry).map(Some)
    }

    fn object_is_complete(&mut self, contents: &mut dyn Contents) -> Result<(), Problem> {
        let object = self.dnode.object;
        let spill = self.spill.take();
        let is_whole = std::mem::replace(&mut self.is_whole, true);
        let early = self.attributes.take();
        match std::mem::replace(&mut self.current, Current::Other) {
            Current::Other => {
                if object != 0 {
                    self.others.push(object);
                }
                Ok(())
            }
            Current::System(kind, zap) => self.system(kind, zap.finish()?),
            Current::Directory(zap) => {
                self.filesystem.add_directory(object, &zap.finish()?)?;
                self.node(spill, None, Vec::new(), is_whole).map(drop)
            }
            Current::File(start) => {
                let attributes = self.node(spill, early, start, is_whole)?;
                contents
                    .end(object, attributes.as_ref())
                    .map_err(Problem::Output)
            }
        }
    }

    /// Adds the object at hand to the files; returns its attributes if they are known.
    fn node(
        &mut self,
        spill: Option<Vec<u8>>,
        early: Option<Attributes>,
        data: Vec<u8>,
        is_whole: bool,
    ) -> Result<Option<Attributes>, Problem> {
        let object = self.dnode.object;
        if !matches!(self.dnode.bonus_type, BONUS_SA | BONUS_ZNODE) {
            self.others.push(object);
            return Ok(None);
        }
        let attributes = if spill.is_none() && early.is_some() {
            early
        } else {
            self.attributes_now(spill.as_deref())?
        };
        let index = self.filesystem.nodes.len();
        if let Some(attributes) = &attributes {
            let mut node = Node::new(object, attributes)?;
            if spill.is_some() {
                node.set_has_spill();
            }
            self.filesystem.nodes.push(node);
            self.keep(index, attributes, data, is_whole)?;
        } else {
            // Until it is known what it is.
            let unknown = Attributes {
                mode: Kind::File.mode_bits().into(),
                ..Attributes::default()
            };
            self.filesystem.nodes.push(Node::new(object, &unknown)?);
            self.pending_bytes += data.len();
            self.pending.push(Pending {
                index,
                bonus: std::mem::take(&mut self.dnode.bonus),
                spill,
                data,
                is_whole,
            });
        }
        Ok(attributes)
    }

    /// Keeps what is wanted of a file's data.
    fn keep(
        &mut self,
        index: usize,
        attributes: &Attributes,
        mut data: Vec<u8>,
        is_whole: bool,
    ) -> Result<(), Problem> {
        let Some(node) = self.filesystem.nodes.get_mut(index) else {
            return Ok(());
        };
        let size = usize::try_from(node.size).unwrap_or(usize::MAX);
        match node.kind {
            Kind::Symlink if attributes.target.is_none() => {
                if size > MAX_TARGET {
                    return Err("a symbolic link has a longer target than there can be".into());
                }
                data.resize(size, 0);
                node.set_target(data);
            }
            Kind::File if node.is_hidden() && size <= MAX_XATTR && is_whole => {
                data.resize(size, 0);
                let object = node.object;
                self.filesystem
                    .values
                    .insert(object, data.into_boxed_slice());
            }
            _ => {}
        }
        Ok(())
    }

    fn system(&mut self, kind: ObjectType, zap: Zap) -> Result<(), Problem> {
        let object = self.dnode.object;
        match kind {
            ObjectType::Master if object == MASTER_NODE => self.master(&zap),
            ObjectType::Unlinked => {
                let objects = zap.iter().filter_map(|(_, values)| values.first().copied());
                self.filesystem.unlinked.extend(objects);
                Ok(())
            }
            ObjectType::SaMaster if self.sa_master == Some(object) => {
                let table = |name: &str| zap.number(name.as_bytes());
                self.sa_tables = table(REGISTRY_NAME).zip(table(LAYOUTS_NAME));
                self.find_registry()
            }
            ObjectType::SaRegistry | ObjectType::SaLayouts => {
                self.tables.insert(object, zap);
                self.find_registry()
            }
            _ => Ok(()),
        }
    }

    fn master(&mut self, zap: &Zap) -> Result<(), Problem> {
        let number = |name: &str| zap.number(name.as_bytes());
        let version = number("VERSION").ok_or("the file system has no version")?;
        if version == 0 || version > NEWEST_VERSION {
            return Err(Problem::Broken(format!(
                "the file system is of version {version}, which is not known"
            )));
        }
        self.filesystem.version = version;
        self.filesystem.root = number("ROOT").ok_or("the file system has no root")?;
        self.filesystem.is_normalized = number("normalization").unwrap_or(0) != 0
            || number("casesensitivity").unwrap_or(0) != 0;
        self.sa_master = number("SA_ATTRS");
        Ok(())
    }

    /// Makes the registry once its tables are there.
    fn find_registry(&mut self) -> Result<(), Problem> {
        let Some((registry, layouts_object)) = self.sa_tables else {
            return Ok(());
        };
        if let (Some(registry), Some(layouts)) =
            (self.tables.get(&registry), self.tables.get(&layouts_object))
        {
            self.filesystem.registry = Some(Registry::new(registry, layouts)?);
            self.filesystem.layouts_object = layouts_object;
            self.tables.clear();
            self.sa_tables = None;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Problem> {
        if self.filesystem.root == 0 {
            return Err("the stream has no master node: it is no file system".into());
        }
        for pending in std::mem::take(&mut self.pending) {
            let registry = self.filesystem.registry.as_ref();
            let attributes =
                Attributes::read(BONUS_SA, &pending.bonus, pending.spill.as_deref(), registry)?;
            if let Some(node) = self.filesystem.nodes.get_mut(pending.index) {
                *node = Node::new(node.object, &attributes)?;
                if pending.spill.is_some() {
                    node.set_has_spill();
                }
            }
            self.keep(pending.index, &attributes, pending.data, pending.is_whole)?;
        }
        let acls = self.filesystem.nodes.iter().map(Node::acl_object);
        let missing = acls
            .filter(|object| *object != 0 && self.others.binary_search(object).is_err())
            .count();
        if missing > 0 {
            self.filesystem
                .findings
                .push(format!("{missing} files have an ACL that is not there"));
        }
        Ok(())
    }
}
