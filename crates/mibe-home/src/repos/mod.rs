//! The build repositories named in `etc/repos.list`: cloned, pulled and told of, side by side, with the system's git.
