//! Reads streams.

mod attributes;
mod codec;
mod error;
mod filesystem;
mod index;
mod layer;
mod records;
mod snapshot;
mod volume;
mod xattr;
mod zap;

pub use attributes::Attributes;
pub use error::{Place, Problem, ReadError};
pub use filesystem::{Each, Filesystem, MAX_XATTR, Node, Xattr};
pub use index::{Contents, NoContents};
pub use layer::Dnode;
pub use records::{Counts, Header};
pub use snapshot::{Event, Snapshot};
pub use volume::Volume;
