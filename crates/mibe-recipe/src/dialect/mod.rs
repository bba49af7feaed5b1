//! The languages that manifests are written in.
//!
//! Each dialect turns a file into [`Assignment`]s; what the keys mean is decided once, in `manifest.rs`.

pub(crate) mod shell;

use crate::problem::Located;

/// A key with its value, each with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) key: Located<String>,
    pub(crate) value: Located<String>,
}
