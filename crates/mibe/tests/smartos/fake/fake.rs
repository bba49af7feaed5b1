//! A stand-in for the programs of a SmartOS global zone, strict where the real ones are: vmadm, imgadm, zfs, zpool, zlogin, zoneadm,
//! sysinfo and nictagadm, with the options that tools use, their output, their exit statuses and their words (the manual pages and
//! sources of smartos-live and illumos say them).
//!
//! One program under all these names, in `FOLDER/bin`; what the host is stands in `FOLDER`. A zone is a tree in a sandbox, `zlogin` runs
//! in it, `zfs send` is our writer. It knows nothing of mibe.
//!
//! `FOLDER/fault.json` has one call go wrong in a way of [`faults::Kind`]; every call is written to `FOLDER/calls`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program of the tests"
)]

mod faults;
mod imgadm;
mod state;
mod vmadm;
mod zfs;
mod zone;

use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use state::Host;

fn main() -> ExitCode {
    mibe_sandbox::agent_main(&[]);
    let program = std::env::current_exe().unwrap();
    let name = program.file_name().unwrap().to_str().unwrap().to_owned();
    let host = Host::at(program.parent().unwrap().parent().unwrap());
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.into_string().expect("arguments are UTF-8"))
        .collect();
    // Whoever runs commands over ssh asks it of its own process group, which is no call of the host's tools.
    if name == "ps" && arguments.first().is_none_or(|first| first != "-z") {
        let error = std::process::Command::new("/usr/bin/ps")
            .args(&arguments)
            .exec();
        panic!("ps: {error}");
    }
    if let Some(status) = faults::strike(&host, &name, &arguments) {
        return status;
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match name.as_str() {
        "vmadm" => vmadm::run(&host, &words),
        "imgadm" => imgadm::run(&host, &words),
        "zfs" => zfs::zfs(&host, &words),
        "zpool" => zfs::zpool(&host, &words),
        "zlogin" => zone::zlogin(&host, &words),
        "zoneadm" => zone::zoneadm(&host, &words),
        "sysinfo" => sysinfo(&host, &words),
        "nictagadm" => nictagadm(&words),
        "ps" => ps(&words),
        _ => Err(Failure::usage(format!("{name} is not played here"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.words.is_empty() {
                eprintln!("{}", failure.words);
            }
            ExitCode::from(failure.status)
        }
    }
}

/// What a program says as it fails.
struct Failure {
    status: u8,
    words: String,
}

impl Failure {
    fn new(words: impl Into<String>) -> Self {
        Self {
            status: 1,
            words: words.into(),
        }
    }

    fn usage(words: impl Into<String>) -> Self {
        Self {
            status: 2,
            words: words.into(),
        }
    }
}

type Done = Result<(), Failure>;

/// The platform that the host runs.
const PLATFORM: &str = "20240321T000000Z";

fn sysinfo(host: &Host, words: &[&str]) -> Done {
    if !words.is_empty() {
        return Err(Failure::usage("sysinfo: only without options here"));
    }
    let uuid = std::fs::read_to_string(host.path("uuid"));
    let uuid = uuid.unwrap_or_else(|_| "564d5fde-93a2-4b0b-9c2d-0a1b2c3d4e5f".to_owned());
    let info = serde_json::json!({
        "Live Image": PLATFORM,
        "System Type": "SunOS",
        "SDC Version": "7.0",
        "Hostname": "fake",
        "UUID": uuid,
        "Zpool": "zones",
        "MiB of Memory": "24576",
    });
    println!("{}", serde_json::to_string_pretty(&info).unwrap());
    Ok(())
}

/// Of the global zone, which here is the machine.
fn ps(words: &[&str]) -> Done {
    if words != ["-z", "global", "-o", "args"] {
        return Err(Failure::usage("ps: only -z global -o args here"));
    }
    let printed = std::process::Command::new("/usr/bin/ps")
        .args(["-e", "-o", "args"])
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&printed.stdout));
    Ok(())
}

fn nictagadm(words: &[&str]) -> Done {
    match words {
        ["list", "-p"] => {
            println!("external:00:0c:29:de:ad:00:e1000g1:normal");
            println!("admin:00:0c:29:de:ad:01:e1000g0:normal");
            println!("stub0:-:-:etherstub");
            Ok(())
        }
        _ => Err(Failure::usage(
            "Usage: nictagadm list [-v] [-l | -L] [-p] [-d delim]",
        )),
    }
}
