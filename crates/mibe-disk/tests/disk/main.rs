//! Disks held against the programs that everybody has for them: qemu-img, sgdisk, mkfs, e2fsck, debugfs, cloud-init's own ds-identify.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ext4;
mod formats;
mod hostile;
mod identify;
mod support;
mod tables;
