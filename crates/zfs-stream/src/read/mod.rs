//! Reads streams.

mod attributes;
mod check;
mod codec;
mod error;
mod filesystem;
mod header;
mod index;
mod layer;
mod node;
mod records;
mod snapshot;
mod volume;
mod xattr;
mod zap;

pub use attributes::Attributes;
pub use error::{Place, Problem, ReadError};
pub use filesystem::{Each, Filesystem};
pub use header::Header;
pub use index::{Contents, NoContents};
pub use layer::Dnode;
pub use node::{MAX_XATTR, Node, Xattr};
pub use records::{Counts, whole};
pub use snapshot::{Event, Snapshot};
pub use volume::Volume;
