//! The rules of the house that neither rustfmt nor clippy checks, and shellcheck over every script.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure};
use crate::parts;
use crate::project::{Project, find_program, run};

/// More than one sitting takes.
const MOST_LINES: usize = 700;

/// The one crate that may hold `unsafe`.
const UNSAFE_CRATE: &str = "crates/mibe-sandbox/";

/// Checks all files of the project; prints every breach before it fails.
pub fn check(project: &Project) -> Result<(), Failure> {
    let mut files = Vec::new();
    walk(&project.root, &FOREIGN, &mut files)?;
    let mut breaches = Vec::new();
    let mut scripts = Vec::new();
    let root = format!("{}/", project.root.display());
    for file in &files {
        let Ok(text) = fs::read_to_string(file) else {
            continue; // Not text.
        };
        let name = file
            .strip_prefix(&project.root)
            .unwrap_or(file)
            .display()
            .to_string();
        if extension(&name) == "rs" {
            breaches.extend(rust(&name, &text));
        }
        if is_script(&name, &text) {
            scripts.push(file.clone());
        }
        if let Some(line) = text.lines().position(|line| line.contains(&root)) {
            breaches.push(format!("{name}:{}: names a path of this machine", line + 1));
        }
    }
    for breach in &breaches {
        eprintln!("{breach}");
    }
    shellcheck(project, &scripts)?;
    if breaches.is_empty() {
        println!("xtask: {} files keep the rules of the house", files.len());
        Ok(())
    } else {
        Err(Failure::new(format!(
            "{} breaches of the rules of the house",
            breaches.len()
        )))
    }
}

/// Directories in the root that hold nothing that people wrote for the project.
const FOREIGN: [&str; 4] = [".git", "target", "images", "logs"];

/// The same in any directory: what cargo-fuzz makes.
const MADE: [&str; 4] = ["target", "corpus", "artifacts", "coverage"];

/// All files below a directory, sorted; without the `foreign` ones in it.
fn walk(directory: &Path, foreign: &[&str], files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let what = || format!("can't read the directory {}", directory.display());
    let mut entries = fs::read_dir(directory)
        .context(what)?
        .collect::<Result<Vec<_>, _>>()
        .context(what)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().context(what)?;
        if kind.is_dir() && !foreign.iter().any(|name| entry.file_name() == *name) {
            walk(&entry.path(), &MADE, files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn rust(name: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let lines = text.lines().count();
    if lines > MOST_LINES {
        breaches.push(format!("{name}: {lines} lines; which two things is it?"));
    }
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut breach = |what: &str| breaches.push(format!("{name}:{}: {what}", index + 1));
        if ["todo", "unimplemented"]
            .iter()
            .any(|word| has_word(code, word, "!"))
        {
            breach("unfinished work");
        }
        if code.trim_start().starts_with("#[ignore") {
            breach("a test that never runs; MIBE_SLOW_TESTS is for long ones");
        }
        if !name.starts_with(UNSAFE_CRATE)
            && ([" {", " fn", " impl", " extern"]
                .iter()
                .any(|next| has_word(code, "unsafe", next))
                || has_word(code, "unsafe_code", ")"))
        {
            breach("unsafe code outside mibe-sandbox");
        }
    }
    breaches
}

/// Whether `code` has `word`, as a word of its own, right before `next`.
fn has_word(code: &str, word: &str, next: &str) -> bool {
    code.match_indices(word).any(|(start, _)| {
        code[start + word.len()..].starts_with(next)
            && !code[..start].ends_with(|before: char| {
                before.is_alphanumeric() || before == '_' || before == '"'
            })
    })
}

fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// Scripts by their name or first line. Fixtures stay as they came.
fn is_script(name: &str, text: &str) -> bool {
    let shebang = text.lines().next().is_some_and(|line| {
        line.starts_with("#!")
            && ["/sh", "/bash", "/dash", " sh", " bash"]
                .iter()
                .any(|shell| line.trim_end().contains(shell))
    });
    (extension(name) == "sh" || shebang) && !name.contains("/fixtures/")
}

fn shellcheck(project: &Project, scripts: &[PathBuf]) -> Result<(), Failure> {
    if scripts.is_empty() {
        return Ok(());
    }
    parts::ensure_some(&["shellcheck"])?;
    let program =
        find_program("shellcheck").ok_or_else(|| Failure::machine("shellcheck is not found"))?;
    println!("xtask: shellcheck of {} scripts", scripts.len());
    run(Command::new(program)
        .current_dir(&project.root)
        .args(["--exclude=SC1091", "--"])
        .args(scripts))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are put together here so that this file does not break the rules itself.
    fn sample(text: &str) -> String {
        text.replace("TODO", "todo")
            .replace("UNSAFE", "unsafe")
            .replace("IGNORE", "ignore")
    }

    #[test]
    fn each_breach_of_the_rules_is_located() {
        let text = sample(
            "fn a() {\n    TODO!()\n}\n#[IGNORE]\nfn b() { UNSAFE { c() } }\n#![allow(UNSAFE_code)]\n",
        );
        let breaches = rust("lib.rs", &text);
        let places: Vec<&str> = breaches
            .iter()
            .filter_map(|breach| breach.split(' ').next())
            .collect();
        assert_eq!(places, ["lib.rs:2:", "lib.rs:4:", "lib.rs:5:", "lib.rs:6:"]);
        let long = "\n".repeat(MOST_LINES + 1);
        assert_eq!(rust("a.rs", &long).len(), 1);
        assert!(rust("a.rs", &long[1..]).is_empty());
    }

    #[test]
    fn words_that_only_look_like_breaches_pass() {
        let text =
            sample("// TODO!() one day\nlet not_TODO!();\nlet s = x.TODO();\nUNSAFEly(1);\n");
        assert_eq!(rust("lib.rs", &text), [""; 0]);
        assert!(rust("crates/mibe-sandbox/src/x.rs", &sample("UNSAFE { x() }")).is_empty());
    }

    #[test]
    fn scripts_are_known_by_name_or_first_line() {
        assert!(is_script("a.sh", ""));
        assert!(is_script("examples/a/customize", "#!/bin/bash -e\n"));
        assert!(is_script("a", "#!/usr/bin/env bash\n"));
        assert!(!is_script("a", "#!/usr/bin/python3\n"));
        assert!(!is_script("crates/x/tests/fixtures/a.sh", ""));
    }
}
