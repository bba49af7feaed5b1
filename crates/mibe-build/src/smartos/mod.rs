//! The SmartOS builder's parts that need no host: so far, the spec of its build machines.

mod properties;
pub mod spec;
