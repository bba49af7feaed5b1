//! The *home*: the folder with `etc/`, `repos/`, `images/` and `logs/` that the shell mibe worked in, its settings, and the git
//! repositories named in its list.

pub mod repos;
