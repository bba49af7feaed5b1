//! `customize`: does it stop at failures, and are its commands those of its base.

use std::path::Path;

use crate::codes::Code;
use crate::files::Customize;
use crate::lints::manifest::System;
use crate::lints::shell_words::{Command, commands};
use crate::problem::{Collector, Problem, Source, Span};

/// Commands that are found in SmartOS zones only, those of pkgsrc's GNU tools by their `g` among them.
const OF_SMARTOS: &[&str] = &[
    "crle",
    "dladm",
    "ggrep",
    "gsed",
    "gtar",
    "ipadm",
    "logadm",
    "pfexec",
    "pkg_add",
    "pkg_admin",
    "pkg_delete",
    "pkg_info",
    "pkgin",
    "sm-prepare-image",
    "sm-set-hostname",
    "svcadm",
    "svccfg",
    "svcprop",
    "svcs",
    "zlogin",
];

/// Commands that are found in Linux zones only.
const OF_LINUX: &[&str] = &[
    "add-apt-repository",
    "apk",
    "apt",
    "apt-cache",
    "apt-get",
    "apt-key",
    "apt-mark",
    "chkconfig",
    "debconf-set-selections",
    "dnf",
    "dpkg",
    "dpkg-reconfigure",
    "hostnamectl",
    "journalctl",
    "localedef",
    "pacman",
    "systemctl",
    "systemd-tmpfiles",
    "timedatectl",
    "update-ca-certificates",
    "update-rc.d",
    "xbps-install",
    "yum",
    "zypper",
];

/// Commands of another system that are told of.
const MOST: usize = 10;

pub(super) fn check(customize: &Customize, system: Option<System>, problems: &mut Collector) {
    let source = Source {
        file: "customize".into(),
        bytes: &customize.contents,
    };
    let interpreter = customize.interpreter.as_deref().unwrap_or("/bin/sh");
    if !is_shell(interpreter) {
        return;
    }
    let commands = commands(&customize.contents);
    let by_interpreter = interpreter
        .split_whitespace()
        .skip(1)
        .any(|option| option.starts_with('-') && !option.starts_with("--") && option.contains('e'));
    if !by_interpreter && !commands.iter().any(sets_errexit) && !commands.is_empty() {
        problems.push(Problem::of_file(
            Code::NoErrexit,
            "customize",
            "goes on after a command that failed, and the build ends well all the same",
            "put `set -o errexit` before its first command",
        ));
    }
    if let Some(system) = system {
        foreign(&commands, system, source, problems);
    }
}

/// `/usr/bin/env bash -e` and `/bin/sh` are.
fn is_shell(interpreter: &str) -> bool {
    interpreter
        .split_whitespace()
        .filter(|word| !word.starts_with('-'))
        .take(2)
        .filter_map(|word| Path::new(word).file_name()?.to_str())
        .any(|name| {
            matches!(
                name,
                "sh" | "bash" | "dash" | "ksh" | "ksh93" | "zsh" | "ash"
            )
        })
}

/// `set -e`, `set -eu`, `set -o errexit`, `set -euo pipefail`.
fn sets_errexit(command: &Command) -> bool {
    let mut words = command.words.iter().map(|(_, word)| word.as_str());
    if words.next() != Some("set") {
        return false;
    }
    words.any(|word| {
        word == "errexit"
            || (word.starts_with('-') && !word.starts_with("--") && word.contains('e'))
    })
}

fn foreign(commands: &[Command], system: System, source: Source<'_>, problems: &mut Collector) {
    let (foreign, of, instead) = match system {
        System::SmartOs => (OF_LINUX, "Linux", "SmartOS"),
        System::Linux => (OF_SMARTOS, "SmartOS", "Linux"),
    };
    // A script that asks which system it is on knows what it does.
    let asks = commands.iter().any(|command| {
        let first = command.words.first().map(|(_, word)| word.as_str());
        matches!(first, Some("uname" | "which" | "type" | "hash" | "-v"))
    });
    if asks {
        return;
    }
    let mut told: Vec<&str> = Vec::new();
    for command in commands {
        let Some((at, word)) = command.words.first() else {
            continue;
        };
        let name = word.rsplit('/').next().unwrap_or_default();
        if !foreign.contains(&name) || told.contains(&name) || told.len() >= MOST {
            continue;
        }
        told.push(name);
        let span = Span {
            start: *at,
            end: at + word.len(),
        };
        problems.push(source.locate((), span).problem(
            Code::ForeignCommand,
            format!("`{name}` is a command of {of}, and the base is of {instead}"),
            format!("use what {instead} has for it, or name another base"),
        ));
    }
}
