//! The inner half of the benchmarks: the harness, and the programs that it measures.

mod contest;
mod disk;
mod images;
mod measure;
mod programs;
mod repositories;
mod sandbox;
mod serve;
mod trees;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::{NAMES, Options};
use crate::failure::{Context, Failure};
use crate::project::Project;

use contest::{Aim, Contest, Rival};
use trees::Scratch;

/// Runs a hidden command: the harness itself or one of the programs that it starts.
pub fn run(program: &str, arguments: &[String]) -> Result<(), Failure> {
    match (program, arguments) {
        ("bench", arguments) => bench(&Project::find()?, arguments),
        ("measure", [report, program @ ..]) => measure::inside(Path::new(report), program),
        ("stream", [tree]) => programs::stream(Path::new(tree)),
        ("drain", []) => programs::drain(),
        ("capture", [tree, file]) => programs::capture(Path::new(tree), Path::new(file)),
        _ => Err(Failure::usage(format!("__{program} is not for people"))),
    }
}

fn bench(project: &Project, arguments: &[String]) -> Result<(), Failure> {
    let options = Options::read(arguments)?;
    let wanted = |name: &str| options.names.iter().any(|wanted| wanted == name);
    let scratch = Scratch::new(&project.target.join("bench"))?;
    println!("{}\n", machine());
    let mut missed = Vec::new();
    if NAMES[..7].iter().any(|name| wanted(name)) {
        let tree = trees::debian(project, &scratch, options.tree.as_deref())?;
        println!("tree: {}, {}\n", tree.what, tree.size);
        for contest in contests(&tree.path, &scratch)? {
            if wanted(contest.name) {
                missed.extend(measured(
                    contest.name,
                    contest.run(&scratch, options.rounds),
                ));
            }
        }
        if wanted("memory") {
            missed.extend(measured("memory", memory(&tree, &scratch)));
        }
        if NAMES[4..7].iter().any(|name| wanted(name)) {
            let outcome = images::run_wanted(project, &tree, &scratch, options.rounds, wanted);
            missed.extend(measured("images", outcome));
        }
    }
    if wanted("check") {
        let outcome = repositories::run(project, &scratch, options.rounds);
        missed.extend(measured("check", outcome));
    }
    if wanted("serve") {
        missed.extend(measured("serve", serve::run(project, &scratch)));
    }
    if wanted("disk") {
        let outcome = disk::run(project, &scratch, options.rounds);
        missed.extend(measured("disk", outcome));
    }
    if wanted("sandbox") {
        missed.extend(measured("sandbox", sandbox::run(project, options.rounds)));
    }
    if missed.is_empty() {
        println!("Every aim was met.");
        return Ok(());
    }
    println!("Missed:");
    for aim in &missed {
        println!("  {aim}");
    }
    // A figure is no failure: aims are judged by people, on a machine they know.
    Ok(())
}

/// The aims that one benchmark missed; one that could not be run has missed them too, and the others go on.
fn measured(name: &str, outcome: Result<Vec<String>, Failure>) -> Vec<String> {
    outcome.unwrap_or_else(|failure| {
        println!("  not measured\n");
        vec![format!("{name}: not measured: {}", failure.message)]
    })
}

/// The contests of mibe with other programs on one tree.
fn contests(tree: &Path, scratch: &Scratch) -> Result<Vec<Contest>, Failure> {
    let ours = |file: &Path| -> Result<Rival, Failure> {
        let program = vec![own_program()?, "__capture".into(), tree.into(), file.into()];
        Ok(Rival {
            name: "mibe .zfs.gz",
            program,
            file: Some(file.to_owned()),
        })
    };
    let capture = scratch.path.join("tree.zfs.gz");
    let packed = scratch.path.join("tree.tar.gz");
    Ok(vec![
        Contest {
            name: "stream",
            title: "Tree to stream, both into a pipe",
            ours: Rival {
                name: "mibe stream",
                program: piped(&[own_program()?, "__stream".into(), tree.into()])?,
                file: None,
            },
            theirs: Rival {
                name: "tar",
                program: piped(&tar(tree))?,
                file: None,
            },
            aims: vec![Aim::Faster(1.0)],
        },
        Contest {
            name: "gzip",
            title: "Tree to .zfs.gz, against tar | gzip -9",
            ours: ours(&capture)?,
            theirs: Rival {
                name: "tar|gzip -9",
                program: into_file(&tar(tree), "gzip -9n", &packed),
                file: Some(packed.clone()),
            },
            aims: vec![Aim::Faster(8.0), Aim::Size(1.01)],
        },
        Contest {
            name: "pigz",
            title: "Tree to .zfs.gz, against tar | pigz -6",
            ours: ours(&capture)?,
            theirs: Rival {
                name: "tar|pigz -6",
                program: into_file(&tar(tree), "pigz -6n", &packed),
                file: Some(packed),
            },
            aims: vec![Aim::Faster(1.5)],
        },
    ])
}

/// Peak memory must not grow with the tree.
fn memory(tree: &trees::Tree, scratch: &Scratch) -> Result<Vec<String>, Failure> {
    const LIMIT_MIB: f64 = 64.0;
    println!("Peak memory (aim: each under {LIMIT_MIB} MiB)");
    let file = scratch.path.join("tree.zfs.gz");
    let mut missed = Vec::new();
    for (megabytes, name) in [(200, "200 MB"), (2000, "2 GB")] {
        let copy = trees::of_size(tree, scratch, megabytes)?;
        let stream = piped(&[own_program()?, "__stream".into(), copy.clone().into()])?;
        let capture = vec![
            own_program()?,
            "__capture".into(),
            copy.clone().into(),
            file.clone().into(),
        ];
        for (what, program) in [("stream", stream), (".zfs.gz", capture)] {
            let sample = measure::measure(scratch, &program)?;
            let (peak, wall) = (sample.peak_mib(), sample.wall);
            println!("  {name:8} to {what:8}  {peak:6.1} MiB  {wall:7.2} s");
            if peak >= LIMIT_MIB {
                missed.push(format!(
                    "memory: {name} to {what} took {peak:.1} MiB, aim under {LIMIT_MIB}"
                ));
            }
        }
        fs::remove_dir_all(&copy).context(|| format!("can't remove {}", copy.display()))?;
    }
    let _ = fs::remove_file(&file);
    println!();
    Ok(missed)
}

fn own_program() -> Result<OsString, Failure> {
    Ok(std::env::current_exe()
        .context(|| "can't find xtask's own program".to_owned())?
        .into())
}

fn tar(tree: &Path) -> Vec<OsString> {
    // Bare of options that cost it time (sorting, xattrs), though mibe does both.
    vec![
        "tar".into(),
        "--numeric-owner".into(),
        "-C".into(),
        tree.into(),
        "-cf".into(),
        "-".into(),
        ".".into(),
    ]
}

/// GNU tar does not read files when it sees that it writes to /dev/null; a pipe is fair to both, of the size that a
/// build has between its two processes.
fn piped(program: &[OsString]) -> Result<Vec<OsString>, Failure> {
    let mut shell: Vec<OsString> = ["sh", "-c", "\"$@\" | \"$0\" __drain"]
        .map(OsString::from)
        .to_vec();
    shell.push(own_program()?);
    shell.extend_from_slice(program);
    Ok(shell)
}

fn into_file(program: &[OsString], filter: &str, file: &Path) -> Vec<OsString> {
    // Synced, as mibe syncs its own.
    let script = format!("out=$1; shift; \"$@\" | {filter} > \"$out\" && sync \"$out\"");
    let mut shell: Vec<OsString> = vec![
        "sh".into(),
        "-c".into(),
        script.into(),
        "sh".into(),
        file.into(),
    ];
    shell.extend_from_slice(program);
    shell
}

/// The machine in a line, since ratios depend on its cores.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |line| {
            line.trim_start_matches([' ', '\t', ':'])
        });
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("machine: {cores} cores of {model}; load before the start {load}")
}
