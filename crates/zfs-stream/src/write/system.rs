//! The objects every file system has: master node, delete queue, system attributes.

use super::WriteError;
use super::filesystem::salt;
use super::output::Output;
use super::records::{NewObject, RecordWriter};
use super::zap::{Entry, Source, Value, Zap};
use super::znode;
use crate::format::sa::{LAYOUTS_NAME, REGISTRY, REGISTRY_NAME};
use crate::format::znode::{MASTER_NODE, ObjectType, ZPL_VERSION};

const SA_MASTER: u64 = 2;
const DELETE_QUEUE: u64 = 3;
const SA_REGISTRY: u64 = 4;
const SA_LAYOUTS: u64 = 5;
/// Number of the root directory.
pub(super) const ROOT: u64 = 6;

/// Writes these objects.
pub(super) fn write<O: Output>(out: &mut RecordWriter<O>) -> Result<(), WriteError> {
    let number = |name: &str, value: u64| (name.to_owned(), 8, value.to_be_bytes().to_vec());
    let master = [
        ("VERSION", ZPL_VERSION),
        ("SA_ATTRS", SA_MASTER),
        ("DELETE_QUEUE", DELETE_QUEUE),
        ("ROOT", ROOT),
        ("normalization", 0),
        ("utf8only", 0),
        ("casesensitivity", 0),
    ];
    let sa_master = [(REGISTRY_NAME, SA_REGISTRY), (LAYOUTS_NAME, SA_LAYOUTS)];
    let numbers = |all: &[(&str, u64)]| all.iter().map(|(n, value)| number(n, *value)).collect();
    let registry = REGISTRY
        .iter()
        .map(|entry| number(entry.name, entry.value()))
        .collect();
    let layouts: Vec<(u16, Vec<u16>)> = znode::layouts()
        .map(|(number, layout)| {
            let ids = layout.iter().map(|attribute| *attribute as u16);
            (number, ids.collect())
        })
        .collect();
    let layouts = layouts
        .iter()
        .map(|(number, ids)| (*number, ids.as_slice()));
    table(
        out,
        MASTER_NODE,
        ObjectType::Master,
        numbers(&master),
        false,
    )?;
    table(
        out,
        SA_MASTER,
        ObjectType::SaMaster,
        numbers(&sa_master),
        false,
    )?;
    table(out, DELETE_QUEUE, ObjectType::Unlinked, Vec::new(), false)?;
    table(out, SA_REGISTRY, ObjectType::SaRegistry, registry, false)?;
    write_layouts(out, SA_LAYOUTS, layouts, false)
}

/// Writes a table of layouts: their numbers and those of their attributes. `replaces` another one.
pub(super) fn write_layouts<'a, O: Output>(
    out: &mut RecordWriter<O>,
    object: u64,
    layouts: impl Iterator<Item = (u16, &'a [u16])>,
    replaces: bool,
) -> Result<(), WriteError> {
    let layouts = layouts
        .map(|(number, ids)| {
            let ids = ids.iter().flat_map(|id| id.to_be_bytes());
            (number.to_string(), 2, ids.collect())
        })
        .collect();
    table(out, object, ObjectType::SaLayouts, layouts, replaces)
}

/// Entries of any kind: name, size of the value's integers, value (big-endian).
struct Table(Vec<(String, u8, Vec<u8>)>);

impl Source for Table {
    fn name(&self, handle: u32) -> &[u8] {
        self.0[handle as usize].0.as_bytes()
    }

    fn number(&self, entry: &Entry) -> u64 {
        let value = &self.0[entry.handle as usize].2;
        value
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn value(&self, entry: &Entry, with: &mut dyn FnMut(Value<'_>)) {
        let (_, integer_size, bytes) = &self.0[entry.handle as usize];
        with(Value {
            integer_size: *integer_size,
            bytes,
        });
    }

    fn value_length(&self, handle: u32) -> usize {
        self.0[handle as usize].2.len()
    }

    fn may_be_micro(&self) -> bool {
        self.0.iter().all(|(_, integer_size, _)| *integer_size == 8)
    }
}

/// Writes a table of numbers.
pub(super) fn write_numbers<O: Output>(
    out: &mut RecordWriter<O>,
    object: u64,
    object_type: ObjectType,
    numbers: &[(&str, u64)],
) -> Result<(), WriteError> {
    let entries = numbers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), 8, value.to_be_bytes().to_vec()));
    table(out, object, object_type, entries.collect(), false)
}

fn table<O: Output>(
    out: &mut RecordWriter<O>,
    number: u64,
    object_type: ObjectType,
    entries: Vec<(String, u8, Vec<u8>)>,
    replaces: bool,
) -> Result<(), WriteError> {
    let table = Table(entries);
    let handles = (0..table.0.len() as u32).map(|handle| (handle, handle));
    // A handful of names of ours never collide.
    let Ok(zap) = Zap::new(&table, salt(number), handles) else {
        return Ok(());
    };
    let block_size = zap.block_size();
    out.object(&NewObject {
        number,
        object_type: object_type.number(),
        block_size,
        bonus: None,
        has_spill: false,
    })?;
    if replaces {
        out.free(number, 0, u64::MAX)?;
    }
    zap.write(&table, (number, object_type.number()), out)
}
