//! Credentials of the agent and of PID 1.

use std::io;

use rustix::fs::{Gid, Mode as Bits, OFlags, Uid};
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::CapabilitySet;

use crate::Mode;

/// Has the kernel kill this process when its parent (the parent's thread that started it) ends. A change of
/// credentials undoes that.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// Takes the ids 0 of a user namespace whose maps are written; of the machine in [`Mode::Root`].
pub(crate) fn become_root(mode: Mode) -> io::Result<()> {
    if mode != Mode::Single {
        rustix::thread::set_thread_groups(&[])?;
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    die_with_parent()?;
    // /proc/self must stay ours.
    Ok(rustix::process::set_dumpable_behavior(
        DumpableBehavior::Dumpable,
    )?)
}

/// Makes the tree's root directory, 0755 root:root, also where the directory above hands down its group.
pub(crate) fn make_root() -> io::Result<()> {
    rustix::fs::mkdir("root", 0o700.into())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open("root", flags, Bits::empty())?;
    rustix::fs::fchown(&root, Some(Uid::ROOT), Some(Gid::ROOT))?;
    Ok(rustix::fs::fchmod(&root, 0o755.into())?)
}

/// What a command keeps of root's power: enough to install packages, nothing that reaches the machine. Making
/// device nodes is kept (in mode root), but the tree is mounted so that they can't be opened.
const KEPT: &[CapabilitySet] = &[
    CapabilitySet::CHOWN,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::FSETID,
    CapabilitySet::FOWNER,
    CapabilitySet::MKNOD,
    CapabilitySet::NET_RAW,
    CapabilitySet::NET_BIND_SERVICE,
    CapabilitySet::SETGID,
    CapabilitySet::SETUID,
    CapabilitySet::SETPCAP,
    CapabilitySet::SYS_CHROOT,
    CapabilitySet::KILL,
    CapabilitySet::AUDIT_WRITE,
];

/// Drops every other capability for good.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let kept = KEPT
        .iter()
        .fold(CapabilitySet::empty(), |all, one| all | *one);
    rustix::thread::clear_ambient_capability_set()?;
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")?
        .trim()
        .parse()
        .map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("cap_last_cap: {error}"))
        })?;
    for number in 0..=last.min(63) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !kept.contains(capability) {
            rustix::thread::remove_capability_from_bounding_set(capability)?;
        }
    }
    let held = rustix::thread::capabilities(None)?;
    let sets = rustix::thread::CapabilitySets {
        effective: held.effective & kept,
        permitted: held.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
