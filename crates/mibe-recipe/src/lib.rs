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

mod copy;
mod dialect;
mod files;
mod manifest;
mod naming;
mod packages;
mod problem;
mod recipe;
mod render;
mod suggest;
mod summary;
mod target;
mod values;

pub use copy::{CopyEntry, EntryKind};
pub use files::Customize;
pub use naming::split_name_version;
pub use problem::{Located, Location, Problem, Problems, Severity, Span};
pub use recipe::{Network, ReadOutcome, Recipe, Target};
pub use summary::{CopySummary, Summary};
