//! The jobs of this program, and a tree to run commands in.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use mibe_sandbox::{
    Agent, Cancel, Command, Job, JobFiles, JobInput, Kind, Mode, Outcome, Root, Sandbox,
};
use serde_json::Value;

use crate::users::busybox;

type Answer = Result<Value, String>;

pub const JOBS: &[Job] = &[
    Job {
        name: "furnish",
        run: furnish,
    },
    Job {
        name: "list",
        run: list,
    },
    Job {
        name: "escape",
        run: escape,
    },
    Job {
        name: "build",
        run: build,
    },
    Job {
        name: "copy",
        run: copy,
    },
    Job {
        name: "fail",
        run: |_, input| Err(format!("no {}", input.args)),
    },
    Job {
        name: "panic",
        run: |_, _| panic!("lost its mind"),
    },
    Job {
        name: "hang",
        run: |_, _| loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
        },
    },
];

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A root file system of one program.
fn furnish(root: &Root, input: JobInput) -> Answer {
    for dir in ["/bin", "/etc", "/root"] {
        root.create_dir(Path::new(dir), 0o755).map_err(text)?;
    }
    let mut to = root
        .create(Path::new("/bin/busybox"), 0o755)
        .map_err(text)?;
    std::io::copy(&mut input.input.ok_or("no input")?, &mut to).map_err(text)?;
    drop(to);
    for name in NAMES {
        root.symlink(Path::new("busybox"), &Path::new("/bin").join(name))
            .map_err(text)?;
    }
    let users = b"root:x:0:0::/root:/bin/sh\nu1:x:1001:1002::/:/bin/sh\n";
    root.write(Path::new("/etc/passwd"), 0o644, users)
        .map_err(text)?;
    root.write(
        Path::new("/etc/group"),
        0o644,
        b"root:x:0:\nu1:x:1002:\nmore:x:1003:u1\n",
    )
    .map_err(text)?;
    Ok(Value::Null)
}

const NAMES: &[&str] = &[
    "sh", "ls", "id", "cat", "cp", "mv", "ln", "mkdir", "mknod", "mkfifo", "chown", "chmod",
    "touch", "rm", "tar", "stat", "find", "su", "sleep", "setsid", "echo", "test", "kill", "grep",
    "setfattr", "hostname", "ip", "head", "sort", "printf", "true", "mount", "date",
];

/// Everything below the argument: path, kind, mode, owner, device numbers, link target.
fn list(root: &Root, input: JobInput) -> Answer {
    let top: PathBuf = serde_json::from_value(input.args).map_err(text)?;
    let mut lines = Vec::new();
    let mut pending = vec![top];
    while let Some(dir) = pending.pop() {
        for entry in root.read_dir(&dir).map_err(text)? {
            let path = dir.join(&entry.name);
            let m = &entry.metadata;
            let kind = match m.kind {
                Kind::File => "-",
                Kind::Dir => "d",
                Kind::Symlink => "l",
                Kind::Char => "c",
                Kind::Block => "b",
                Kind::Fifo => "p",
                Kind::Socket => "s",
            };
            let mut line = format!(
                "{} {kind} {:04o} {}:{}",
                path.display(),
                m.mode,
                m.uid,
                m.gid
            );
            if matches!(m.kind, Kind::Char | Kind::Block) {
                line += &format!(" {},{}", m.rdev.0, m.rdev.1);
            }
            if m.kind == Kind::Symlink {
                line += &format!(" > {}", root.read_link(&path).map_err(text)?.display());
            }
            lines.push(line);
            if m.kind == Kind::Dir {
                pending.push(path);
            }
        }
    }
    lines.sort();
    serde_json::to_value(lines).map_err(text)
}

/// Paths that would leave the tree if they could.
fn escape(root: &Root, _: JobInput) -> Answer {
    let p = Path::new;
    let check = |what: &str, ok: bool| {
        if ok {
            Ok(())
        } else {
            Err(format!("{what}: wrong"))
        }
    };
    root.symlink(p("/etc/hostname-of-the-host"), p("/w-abs"))
        .map_err(text)?;
    root.symlink(p("../../../../../../../../../../etc"), p("/w-up"))
        .map_err(text)?;
    root.symlink(p("/proc/self/root"), p("/w-magic"))
        .map_err(text)?;
    root.symlink(p("/w-loop"), p("/w-loop")).map_err(text)?;
    // Through links and dots everything ends in the tree's own /etc.
    for path in [
        "/w-up/passwd",
        "../../../../etc/passwd",
        "/../../etc/passwd",
        "etc/../w-up/passwd",
    ] {
        let content = root
            .read(p(path), 4096)
            .map_err(|e| format!("{path}: {e}"))?;
        check(path, content.windows(3).any(|part| part == b"u1:"))?;
    }
    check(
        "final link",
        root.open(p("/w-abs"))
            .is_err_and(|e| e.raw_os_error() == Some(libc::ELOOP)),
    )?;
    check(
        "loop",
        root.read(p("/w-loop/x"), 9)
            .is_err_and(|e| e.raw_os_error() == Some(libc::ELOOP)),
    )?;
    check(
        "limit",
        root.read(p("/etc/passwd"), 3)
            .is_err_and(|e| e.raw_os_error() == Some(libc::EFBIG)),
    )?;
    check(
        "fifo or magic",
        root.read(p("/w-magic/etc/passwd"), 4096).is_err(),
    )?;
    root.write(p("/w-abs"), 0o600, b"in the tree")
        .map_err(text)?;
    check(
        "written beside the link",
        root.metadata(p("/w-abs")).map_err(text)?.kind == Kind::File,
    )?;
    root.chown(p("/w-up"), 3, 4).map_err(text)?;
    check(
        "link owned",
        root.metadata(p("/w-up")).map_err(text)?.uid == 3,
    )?;
    check(
        "target not owned",
        root.metadata(p("/etc")).map_err(text)?.uid == 0,
    )?;
    check("chmod of a link", root.chmod(p("/w-up"), 0o777).is_err())?;
    check(
        "resolve",
        root.resolve(p("/w-up/../w-up/passwd")).map_err(text)? == p("/etc/passwd"),
    )?;
    check("resolve nowhere", root.resolve(p("/w-up/none")).is_err())?;
    root.create_dir_all(p("/w-up/x/y"), 0o750).map_err(text)?;
    check(
        "made inside",
        root.metadata(p("/etc/x/y")).map_err(text)?.mode == 0o750,
    )?;
    root.remove_dir_all(p("/w-up")).map_err(text)?;
    check(
        "only the link removed",
        root.exists(p("/etc/passwd")).map_err(text)?,
    )?;
    check(
        "root stays",
        root.remove_dir_all(p("/")).is_err() && root.remove_dir_all(p("/etc/..")).is_err(),
    )?;
    Ok(Value::Null)
}

/// A tree made by a job alone; what it says of it must be what a command in it sees.
fn build(root: &Root, _: JobInput) -> Answer {
    let p = Path::new;
    let io = |answer: std::io::Result<()>| answer.map_err(text);
    io(root.create_dir(p("/w"), 0o755))?;
    io(root.create_dir(p("/w/d"), 0o2770))?;
    io(root.chown(p("/w/d"), 0, 1003))?;
    io(root.chmod(p("/w/d"), 0o2770))?;
    io(root.write(p("/w/d/f"), 0o4755, b"content"))?;
    io(root.create_dir(p("/w/d/sub"), 0o700))?;
    io(root.mknod(p("/w/c"), libc::S_IFCHR | 0o666, 1, 300))?;
    io(root.mknod(p("/w/b"), libc::S_IFBLK | 0o640, 259, 70000))?;
    io(root.chown(p("/w/b"), 0, 6))?;
    io(root.mknod(p("/w/p"), libc::S_IFIFO | 0o622, 0, 0))?;
    io(root.chown(p("/w/p"), 4, 5))?;
    io(root.symlink(p("d"), p("/w/l")))?;
    io(root.chown(p("/w/l"), 6, 7))?;
    io(root.hard_link(p("/w/l"), p("/w/l2")))?;
    io(root.rename(p("/w/l"), p("/w/l3")))?;
    io(root.write(p("/w/s"), 0o600, b""))?;
    io(root.chmod(p("/w/s"), 0o6755))?;
    io(root.chown(p("/w/s"), 8, 8))?;
    io(root.set_mtime(p("/w/l3"), -5, 7))?;
    io(root.set_xattr(p("/w/s"), "user.x".as_ref(), b"y"))?;
    // Bare files: one of another owner in place of one that was there, one of root's in a set-gid directory.
    io(root.write(p("/w/e"), 0o600, b"old"))?;
    for (path, owner) in [("/w/e", (11, 12)), ("/w/d/e", (0, 0))] {
        let mut file = root.create_bare(p(path)).map_err(text)?;
        file.write_all(b"new").map_err(text)?;
        io(root.dress(&file, owner, 0o6711, (-9, 3)))?;
        let metadata = root.metadata(p(path)).map_err(text)?;
        if metadata.mtime != (-9, 3) || metadata.size != 3 {
            return Err(format!("{path} is not dressed"));
        }
    }
    if root
        .set_xattr(p("/w/s"), "security.capability".as_ref(), b"y")
        .is_ok()
        || root.xattrs(p("/w/s")).map_err(text)? != [("user.x".into(), b"y".to_vec())]
        || root.metadata(p("/w/l2")).map_err(text)?.mtime != (-5, 7)
        || root.metadata(p("/w/l2")).map_err(text)?.nlink != 2
    {
        return Err("attributes or times".to_owned());
    }
    Ok(Value::Null)
}

fn copy(_: &Root, input: JobInput) -> Answer {
    let (mut from, mut to) = (
        input.input.ok_or("no input")?,
        input.output.ok_or("no output")?,
    );
    let length = std::io::copy(&mut from, &mut to).map_err(text)?;
    to.flush().map_err(text)?;
    Ok(Value::from(length))
}

/// A sandbox with the tree of [`furnish`].
pub fn furnished(mode: Mode, dir: &Path) -> Sandbox {
    let sandbox = Sandbox::create(&Agent::current(), dir, mode).unwrap();
    let files = JobFiles {
        input: Some(File::open(busybox()).unwrap()),
        output: None,
    };
    let () = sandbox.job("furnish", &(), files, &Cancel::new()).unwrap();
    sandbox
}

pub fn listing(sandbox: &Sandbox, top: &str) -> Vec<String> {
    sandbox
        .job("list", &top, JobFiles::default(), &Cancel::new())
        .unwrap()
}

pub fn job(sandbox: &Sandbox, name: &str) {
    let () = sandbox
        .job(name, &(), JobFiles::default(), &Cancel::new())
        .unwrap();
}

/// Runs a shell script without network; its outcome and output.
pub fn sh(sandbox: &Sandbox, script: &str) -> (Outcome, String) {
    run(sandbox, &Command::new(["sh", "-c", script]))
}

pub fn run(sandbox: &Sandbox, command: &Command) -> (Outcome, String) {
    let mut output = Vec::new();
    let outcome = sandbox
        .run(command, &Cancel::new(), &mut |bytes| {
            output.extend_from_slice(bytes);
        })
        .unwrap();
    (outcome, String::from_utf8_lossy(&output).into_owned())
}
