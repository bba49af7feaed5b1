//! zlogin(1) and zoneadm(8), as far as tools call them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use mibe_sandbox::{Agent, Bind, Cancel, Command, Network, Outcome, Sandbox};

use crate::state::{Host, now};
use crate::{Done, Failure};

/// What a program of a zone leaves to have it halted.
const HALT: &str = "var/run-halt";
/// The same, to have it started anew.
const REBOOT: &str = "var/run-reboot";

pub fn zoneadm(host: &Host, words: &[&str]) -> Done {
    match words {
        ["list", "-p", "-c"] => {
            for (number, (uuid, vm)) in host.lock().state.vms.iter().enumerate() {
                println!("{number}:{uuid}:{}:/zones/{uuid}:{uuid}:lx:excl", vm.state);
            }
            Ok(())
        }
        ["-z", uuid, "halt"] => {
            let mut locked = host.lock();
            let vm =
                locked.state.vms.get_mut(*uuid).ok_or_else(|| {
                    Failure::new(format!("zoneadm: {uuid}: No such zone configured"))
                })?;
            "stopped".clone_into(&mut vm.state);
            locked.save();
            Ok(())
        }
        _ => Err(Failure::usage("usage:\tzoneadm help | -h")),
    }
}

/// One argument is the text that root's shell gets, as it is; more are joined, with quotes around those with blanks
/// (`prep_args` in zlogin.c).
fn subshell(words: &[&str]) -> String {
    match words {
        [one] => (*one).to_owned(),
        _ => words
            .iter()
            .map(|word| {
                if word.contains([' ', '\t']) {
                    format!("'{word}'")
                } else {
                    (*word).to_owned()
                }
            })
            .collect::<Vec<_>>()
            .join(" "),
    }
}

pub fn zlogin(host: &Host, words: &[&str]) -> Done {
    let (uuid, command) = match words {
        [uuid, command @ ..] if !command.is_empty() && !uuid.starts_with('-') => (*uuid, command),
        _ => {
            return Err(Failure::usage(
                "usage:\tzlogin [ -QinCES ] [ -e cmdchar ] [-l user] zonename [command [args ...] ]",
            ));
        }
    };
    let (zonepath, lx, first) = {
        let mut locked = host.lock();
        let vm = locked
            .state
            .vms
            .get_mut(uuid)
            .ok_or_else(|| Failure::new(format!("zlogin: zone '{uuid}' unknown")))?;
        if vm.state != "running" {
            return Err(Failure::new(format!(
                "zlogin: login allowed only to running zones ({uuid} is '{}').",
                if vm.state == "stopped" {
                    "installed"
                } else {
                    &vm.state
                }
            )));
        }
        let first = !vm.booted && now() >= vm.boots_until;
        vm.booted |= first;
        let pool = vm
            .payload
            .get("zpool")
            .and_then(|pool| pool.as_str())
            .unwrap_or("zones");
        let zonepath = host.mountpoint(&format!("{pool}/{uuid}"));
        let lx = vm.payload["brand"] == "lx";
        locked.save();
        (zonepath, lx, first)
    };
    fs::create_dir_all(host.path("running")).unwrap();
    let running = host
        .path("running")
        .join(format!("{uuid}.{}", std::process::id()));
    fs::write(&running, "").unwrap();
    let sandbox = Sandbox::open(&Agent::current(), &zonepath)
        .map_err(|error| Failure::new(format!("zlogin: {error}")))?;
    if first {
        // What zoneinit does at the first boot; a service says from then on that it is over.
        let script = "for file in /var/zoneinit/includes/*.sh; do [ ! -e $file ] || sh $file; done; mkdir -p /var/svc; : > /var/svc/.booted";
        enter(&sandbox, lx, script, None);
    }
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    let outcome = enter(&sandbox, lx, &subshell(command), Some(input));
    let _ = fs::remove_file(&running);
    for (mark, state) in [(HALT, "stopped"), (REBOOT, "rebooting")] {
        let mark = zonepath.join("root").join(mark);
        if fs::symlink_metadata(&mark).is_ok() {
            fs::remove_file(&mark).unwrap();
            let mut locked = host.lock();
            if let Some(vm) = locked.state.vms.get_mut(uuid) {
                state.clone_into(&mut vm.state);
            }
            locked.save();
        }
    }
    match outcome {
        Outcome::Exited(0) => Ok(()),
        Outcome::Exited(status) => Err(Failure {
            status: u8::try_from(status).unwrap(),
            words: String::new(),
        }),
        // WEXITSTATUS of a status that has none.
        _ => Ok(()),
    }
}

fn enter(sandbox: &Sandbox, lx: bool, text: &str, input: Option<Vec<u8>>) -> Outcome {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&input.unwrap_or_default()).unwrap();
    let path = if lx {
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    } else {
        "/usr/bin:/usr/sbin"
    };
    let mut command = Command::new([
        "/bin/sh",
        "-c",
        "exec < /run/stdin; exec /bin/su root -c \"$1\"",
        "sh",
        text,
    ]);
    command.env = vec![
        ("PATH".into(), path.into()),
        ("HOME".into(), "/root".into()),
        ("SHELL".into(), "/bin/sh".into()),
        ("LOGNAME".into(), "root".into()),
    ];
    command.cwd = PathBuf::from("/root");
    command.network = Network::Host;
    command.tmp_tmpfs = false;
    command.binds = vec![Bind {
        host: file.path().to_owned(),
        inside: "/run/stdin".into(),
        writable: false,
    }];
    let mut out = std::io::stdout().lock();
    sandbox
        .run(&command, &Cancel::default(), &mut |bytes| {
            // Nobody may be listening any more.
            let _ = out.write_all(bytes).and_then(|()| out.flush());
        })
        .unwrap_or(Outcome::Signaled(9))
}
