//! The layouts of attributes that a base has, and those that it lacks.

use std::io::Write;

use super::super::WriteError;
use super::super::output::Sealer;
use super::super::records::RecordWriter;
use super::super::system;
use super::super::znode::{LAYOUTS, LONG_ACL_LAYOUTS};
use crate::format::sa::{Attribute, REGISTRY};
use crate::read::Filesystem;

/// Largest number of a layout: it has ten bits in a header.
const LAST_LAYOUT: u16 = 1023;

/// The layouts that files are written in.
pub(super) struct Layouts {
    /// Their numbers.
    pub numbers: Vec<(u16, &'static [Attribute])>,
    /// Whether the base lacks some.
    pub is_new: bool,
    /// All, as the base's table is to hold them: numbers and numbers of attributes.
    all: Vec<(u16, Vec<u16>)>,
}

impl Layouts {
    /// Finds them in a base.
    pub fn new(base: &Filesystem) -> Result<Self, WriteError> {
        let lacks = |what: &str| WriteError::Unsuitable(format!("it {what}"));
        let registry = base
            .registry
            .as_ref()
            .ok_or_else(|| lacks("has no names for attributes"))?;
        let mut all: Vec<(u16, Vec<u16>)> = registry
            .layouts()
            .iter()
            .map(|(number, attributes)| (*number, attributes.clone()))
            .collect();
        all.sort_unstable();
        let mut layouts = Self {
            numbers: Vec::new(),
            is_new: false,
            all,
        };
        let has_acls = base.nodes().iter().any(|node| node.acl().is_some());
        let long: &[_] = if has_acls { &LONG_ACL_LAYOUTS } else { &[] };
        for layout in LAYOUTS.iter().chain(long) {
            let mut attributes = Vec::new();
            for attribute in *layout {
                let known = REGISTRY.iter().find(|known| known.attribute == *attribute);
                let name = known.map_or("", |known| known.name);
                let number = registry
                    .number(name)
                    .ok_or_else(|| lacks(&format!("does not know the attribute {name}")))?;
                attributes.push(number);
            }
            let found = layouts.all.iter().find(|(_, other)| *other == attributes);
            let number = if let Some((number, _)) = found {
                *number
            } else {
                let last = layouts.all.last().map_or(1, |(number, _)| *number);
                if last >= LAST_LAYOUT {
                    return Err(lacks("has no room for further layouts of attributes"));
                }
                layouts.is_new = true;
                layouts.all.push((last + 1, attributes));
                last + 1
            };
            layouts.numbers.push((number, layout));
        }
        Ok(layouts)
    }

    /// Writes the table anew.
    pub fn write<W: Write>(
        &self,
        object: u64,
        out: &mut RecordWriter<Sealer<W>>,
    ) -> Result<(), WriteError> {
        let all = self
            .all
            .iter()
            .map(|(number, attributes)| (*number, attributes.as_slice()));
        system::write_layouts(out, object, all, true)
    }
}
