//! Reads a *build repository* (a folder with `manifest`, `packages`, `customize`, `copy/`, `motd`) into one
//! [`Recipe`].
//!
//! Nothing of the repository is run: the `manifest` of the shell dialect is parsed by hand, since it comes from
//! outside and only ever holds plain assignments. Everything that is wrong with a repository is found in one
//! reading, each [`Problem`] with its file, line, column and what to do about it.
//!
//! ```no_run
//! use mibe_recipe::Recipe;
//!
//! match Recipe::read("mi-hello".into()) {
//!     Ok(outcome) => println!("{}", outcome.recipe.name_version()),
//!     Err(problems) => println!("{problems}"),
//! }
//! ```

mod assignments;
mod both;
mod codes;
mod convert;
mod copy;
mod dialect;
mod disk;
mod files;
mod lints;
mod manifest;
mod metadata;
mod naming;
mod packages;
mod problem;
mod recipe;
mod render;
mod suggest;
mod summary;
mod target;
mod values;

pub use assignments::{Assigned, assignments};
pub use codes::{Code, findings_page};
pub use convert::{Converted, Dialect, convert, convert_text};
pub use copy::{CopyEntry, EntryKind};
pub use disk::{Disk, DiskSummary, is_url};
pub use files::Customize;
pub use lints::{Checked, check};
pub use metadata::{Metadata, MetadataSummary, MetadataType};
pub use naming::split_name_version;
pub use problem::{Located, Location, Problem, Problems, Severity, Span};
pub use recipe::{Network, ReadOutcome, Recipe, Target};
pub use suggest::likeliest;
pub use summary::{CopySummary, Summary};
