//! Many build repositories checked.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::contest::{Aim, Contest, Rival};
use super::trees::Scratch;
use crate::failure::{Context, Failure};
use crate::project::Project;

/// Repositories, and files in all of them together.
const REPOSITORIES: usize = 150;
const FILES: usize = 10_000;

/// Seconds that a check of all may take.
const MOST: f64 = 2.0;

/// Runs it; returns the aims that were missed.
pub fn run(project: &Project, scratch: &Scratch, rounds: usize) -> Result<Vec<String>, Failure> {
    let folder = scratch.path.join("repositories");
    let mut names = Vec::new();
    for number in 0..REPOSITORIES {
        let name = folder.join(format!("mi-{number}"));
        repository(&name, number).context(|| format!("can't write {}", name.display()))?;
        names.push(name);
    }
    let mibe = project.target.join("release/mibe");
    let quiet = |program: Vec<OsString>| -> Vec<OsString> {
        let words: [OsString; 4] = [
            "sh".into(),
            "-c".into(),
            "\"$@\" > /dev/null || true".into(),
            "sh".into(),
        ];
        words.into_iter().chain(program).collect()
    };
    let mut check: Vec<OsString> = vec![mibe.into(), "check".into()];
    check.extend(names.iter().map(|name| name.clone().into()));
    let grep: Vec<OsString> = vec![
        "grep".into(),
        "-rIc".into(),
        "password".into(),
        folder.clone().into(),
    ];
    let contest = Contest {
        name: "check",
        title: "150 repositories of 10,000 files checked, against grep -rIc",
        ours: Rival {
            name: "mibe check",
            program: quiet(check.clone()),
            file: None,
        },
        theirs: Rival {
            name: "grep -rIc",
            program: quiet(grep),
            file: None,
        },
        aims: vec![Aim::Faster(0.1)],
    };
    let mut missed = contest.run(scratch, rounds)?;
    let took = super::measure::measure(scratch, &quiet(check))?.wall;
    println!("  one more run took {took:.2} s (aim: under {MOST} s)\n");
    if took >= MOST {
        missed.push(format!("check: {took:.2} s, aim under {MOST} s"));
    }
    fs::remove_dir_all(&folder).context(|| format!("can't remove {}", folder.display()))?;
    Ok(missed)
}

/// A repository as those of the wild are: both manifests, metadata, includes of zoneinit, configuration files.
fn repository(folder: &Path, number: usize) -> io::Result<()> {
    let includes = folder.join("copy/var/zoneinit/includes");
    let etc = folder.join("copy/opt/local/etc/app");
    fs::create_dir_all(&includes)?;
    fs::create_dir_all(&etc)?;
    let base = "208f9314-29cf-4bec-9d8b-c0697d00c929";
    fs::write(
        folder.join("manifest"),
        format!(
            "name=\"app-{number}\"\nversion=\"20.1.0\"\ndescription=\"An app\"\nbase=\"{base}\"\n"
        ),
    )?;
    let mut json = format!(
        "{{\n  \"name\": \"app-{number}\",\n  \"version\": \"20.1.{}\",\n  \"customer_metadata\": {{\n",
        number % 2
    );
    for key in 0..20 {
        let comma = if key < 19 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            json,
            "    \"key_{key}\": {{\"type\": \"text\", \"description\": \"what it is for\"}}{comma}"
        );
    }
    json.push_str("  }\n}\n");
    fs::write(folder.join("manifest.json"), json)?;
    fs::write(
        folder.join("packages"),
        "htop\nnginx\npercona-server-5.6.13nb4\n",
    )?;
    fs::write(folder.join("motd"), "%name% %version%\n")?;
    let customize = folder.join("customize");
    let steps = "svcadm enable nginx\ngsed -i 's/a/b/' /opt/local/etc/x\n".repeat(40);
    fs::write(
        &customize,
        format!("#!/usr/bin/bash\nset -o errexit\n{steps}sm-prepare-image -y\n"),
    )?;
    fs::set_permissions(&customize, fs::Permissions::from_mode(0o755))?;
    let files = FILES / REPOSITORIES - 6;
    for file in 0..files {
        let text =
            format!("# a setting\nlisten = 0.0.0.{file}\npassword = %PASSWORD%\nuser = app\n")
                .repeat(20 + file);
        let place = if file % 3 == 0 { &includes } else { &etc };
        fs::write(place.join(format!("{file:02}-part.sh")), text)?;
    }
    Ok(())
}
