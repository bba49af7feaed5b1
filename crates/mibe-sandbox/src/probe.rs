//! Whether a mode works here, tried for real, and what to do when it does not.

use std::fs;
use std::path::Path;

use rustix::fs::XattrFlags;

use crate::{Agent, Cancel, Command, Error, Mode, Outcome, Sandbox, Unavailable, ledger};

/// Makes a sandbox beside the others, runs the agent's own trial in it, and removes it.
pub(crate) fn probe(agent: &Agent, mode: Mode, dir: &Path) -> Result<(), Unavailable> {
    let unavailable = |reason: String, remedy: &str| Unavailable {
        mode,
        reason,
        remedy: remedy.to_owned(),
    };
    if mode == Mode::Root && !rustix::process::geteuid().is_root() {
        return Err(unavailable(
            "it needs root".to_owned(),
            "run as root, or use mode subuid or single",
        ));
    }
    if mode != Mode::Root && rustix::process::geteuid().is_root() {
        return Err(unavailable(
            "root has no need of it".to_owned(),
            "use mode root",
        ));
    }
    let parent = tempfile::Builder::new()
        .prefix(".mibe-probe-")
        .tempdir_in(dir)
        .map_err(|error| {
            unavailable(
                format!("make a directory in {}: {error}", dir.display()),
                "choose a directory you may write to",
            )
        })?;
    if let Ok(stat) = rustix::fs::statvfs(parent.path())
        && stat.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC)
    {
        return Err(unavailable(
            format!(
                "{} is mounted noexec, so that no program of a tree could run",
                dir.display()
            ),
            "choose a directory on another file system",
        ));
    }
    if mode != Mode::Root {
        // Owners (single) and device nodes (subuid and single) are kept in user attributes.
        rustix::fs::setxattr(
            parent.path(),
            ledger::ATTRIBUTE,
            b"0:0",
            XattrFlags::empty(),
        )
        .map_err(|error| {
            unavailable(
                format!(
                    "the file system of {} keeps no user attributes ({error})",
                    dir.display()
                ),
                "choose a directory on ext4, xfs, btrfs, or (Linux 6.6 and later) tmpfs",
            )
        })?;
    }
    let place = parent.path().join("sandbox");
    let sandbox = Sandbox::create(agent, &place, mode).map_err(|error| explain(mode, &error))?;
    let result = trial(&sandbox).map_err(|error| explain(mode, &error));
    let removed = sandbox.destroy().map_err(|error| explain(mode, &error));
    result.and(removed)
}

/// An empty tree has no program: that the agent comes as far as to say so proves all that a run needs.
fn trial(sandbox: &Sandbox) -> Result<(), Error> {
    let mut command = Command::new(["/trial"]);
    command.network = crate::Network::None;
    let mut said = Vec::new();
    match sandbox.run(&command, &Cancel::new(), &mut |bytes| {
        said.extend_from_slice(bytes);
    })? {
        Outcome::Exited(127) => Ok(()),
        outcome => Err(Error::Agent {
            stage: format!("trial run ({outcome:?})"),
            message: String::from_utf8_lossy(&said)
                .trim()
                .trim_start_matches("mibe: ")
                .to_owned(),
        }),
    }
}

fn explain(mode: Mode, error: &Error) -> Unavailable {
    if let Error::Unavailable(unavailable) = error {
        return unavailable.clone();
    }
    let reason = error.to_string();
    let remedy = if mode == Mode::Root {
        "inside a container, start that privileged (docker run --privileged) or at least with CAP_SYS_ADMIN, \
         --security-opt seccomp=unconfined and --security-opt apparmor=unconfined"
            .to_owned()
    } else if reason.contains("seccomp") {
        "a kernel of 5.14 or later with CONFIG_SECCOMP_FILTER is needed; inside a container, start that with \
         --security-opt seccomp=unconfined"
            .to_owned()
    } else {
        userns_remedy()
    };
    Unavailable {
        mode,
        reason,
        remedy,
    }
}

/// Why an unprivileged user namespace may be refused, from the knobs that distributions have.
pub(crate) fn userns_remedy() -> String {
    let knob = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .map(|text| text.trim().to_owned())
    };
    if knob("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return "AppArmor keeps user namespaces from ordinary programs (Ubuntu 23.10 and later): as root, run \
                `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` or give the program an AppArmor profile \
                with the rule `userns,`; or run as root"
            .to_owned();
    }
    if knob("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return "as root, run `sysctl -w kernel.unprivileged_userns_clone=1`; or run as root"
            .to_owned();
    }
    if knob("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return "as root, run `sysctl -w user.max_user_namespaces=15000`; or run as root"
            .to_owned();
    }
    "inside a container, start that with user namespaces, seccomp and /proc unmasked (docker run \
     --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined); \
     or run as root"
        .to_owned()
}
