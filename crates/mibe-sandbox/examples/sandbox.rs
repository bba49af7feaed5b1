//! A sandbox by hand: `sandbox MODE DIR VERB ...` with the verbs `probe`, `create`, `put FILE PATH` (copies an
//! executable in), `run COMMAND...` (host network; `MIBE_BIND=DIR` shows a directory as /run/host), `list`, `destroy`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mibe_sandbox::{
    Agent, Bind, Cancel, Command, Job, JobFiles, JobInput, Kind, Mode, Network, Outcome, Root,
    Sandbox, agent_main,
};

type Answer = Result<serde_json::Value, String>;

fn list(root: &Root, input: JobInput) -> Answer {
    let mut output = input.output.ok_or("no output")?;
    let mut pending = vec![PathBuf::from("/")];
    let text = |e: std::io::Error| e.to_string();
    while let Some(dir) = pending.pop() {
        for entry in root
            .read_dir(&dir)
            .map_err(|e| format!("{}: {e}", dir.display()))?
        {
            let path = dir.join(&entry.name);
            let m = &entry.metadata;
            writeln!(
                output,
                "{} {:?} {:04o} {}:{} {}:{} {}",
                path.display(),
                m.kind,
                m.mode,
                m.uid,
                m.gid,
                m.rdev.0,
                m.rdev.1,
                if m.kind == Kind::Symlink {
                    root.read_link(&path).map_err(text)?
                } else {
                    PathBuf::new()
                }
                .display()
            )
            .map_err(text)?;
            if m.kind == Kind::Dir {
                pending.push(path);
            }
        }
    }
    Ok(serde_json::Value::Null)
}

fn put(root: &Root, input: JobInput) -> Answer {
    let path: PathBuf = serde_json::from_value(input.args).map_err(|e| e.to_string())?;
    let mut to = root
        .create(&path, 0o755)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    let mut from = input.input.ok_or("no input")?;
    std::io::copy(&mut from, &mut to).map_err(|e| e.to_string())?;
    Ok(serde_json::Value::Null)
}

const JOBS: &[Job] = &[
    Job {
        name: "list",
        run: list,
    },
    Job {
        name: "put",
        run: put,
    },
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    agent_main(JOBS);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, dir, verb, rest @ ..] = arguments.as_slice() else {
        return Err("usage: sandbox MODE DIR VERB ...".into());
    };
    let mode = match mode.as_str() {
        "root" => Mode::Root,
        "subuid" => Mode::Subuid,
        _ => Mode::Single,
    };
    let (agent, dir) = (Agent::current(), Path::new(dir));
    let mut command = Command::new(rest);
    command.network = Network::Host;
    command.resolv_conf = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    command
        .env
        .push(("DEBIAN_FRONTEND".into(), "noninteractive".into()));
    if let Ok(host) = std::env::var("MIBE_BIND") {
        command.binds.push(Bind {
            host: host.into(),
            inside: "/run/host".into(),
            writable: false,
        });
    }
    for (name, value) in
        std::env::vars().filter(|(name, _)| name.to_lowercase().ends_with("_proxy"))
    {
        command.env.push((name.into(), value.into()));
    }
    match verb.as_str() {
        "probe" => Sandbox::probe(&agent, mode, dir)?,
        "create" => drop(Sandbox::create(&agent, dir, mode)?),
        "put" => {
            let [host, inside] = rest else {
                return Err("put FILE PATH".into());
            };
            let files = JobFiles {
                input: Some(std::fs::File::open(host)?),
                output: None,
            };
            let () = Sandbox::open(&agent, dir)?.job("put", &inside, files, &Cancel::new())?;
        }
        "run" => {
            let sandbox = Sandbox::open(&agent, dir)?;
            let begin = Instant::now();
            let outcome = sandbox.run(&command, &Cancel::new(), &mut |bytes| {
                let _ = std::io::stdout().write_all(bytes);
            })?;
            eprintln!("{outcome:?} after {:.2} s", begin.elapsed().as_secs_f64());
            if outcome != Outcome::Exited(0) {
                std::process::exit(1);
            }
        }
        "list" => {
            let sandbox = Sandbox::open(&agent, dir)?;
            let file = tempfile::tempfile()?;
            let files = JobFiles {
                input: None,
                output: Some(file.try_clone()?),
            };
            let () = sandbox.job("list", &(), files, &Cancel::new())?;
            let mut file = file;
            std::io::Seek::rewind(&mut file)?;
            std::io::copy(&mut file, &mut std::io::stdout())?;
        }
        "destroy" => Sandbox::open(&agent, dir)?.destroy()?,
        other => return Err(format!("no verb {other}").into()),
    }
    Ok(())
}
