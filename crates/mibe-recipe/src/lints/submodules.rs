//! Submodules that are named and not there.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use crate::codes::Code;
use crate::problem::{Collector, Source, Span};

/// Largest `.gitmodules` that is looked at, in bytes.
const SIZE: u64 = 64 << 10;

pub(super) fn check(directory: &Utf8Path, problems: &mut Collector) {
    let path = directory.join(".gitmodules");
    // What can't be read is git's to complain of.
    let Ok(metadata) = fs::symlink_metadata(&path) else {
        return;
    };
    if !metadata.is_file() || metadata.len() > SIZE {
        return;
    }
    let Ok(bytes) = fs::read(&path) else { return };
    let source = Source {
        file: ".gitmodules".into(),
        bytes: &bytes,
    };
    let mut start = 0;
    for line in bytes.split(|&byte| byte == b'\n') {
        let line_start = start;
        start += line.len() + 1;
        let Ok(text) = std::str::from_utf8(line) else {
            continue;
        };
        let Some((key, value)) = text.split_once('=') else {
            continue;
        };
        if key.trim() != "path" {
            continue;
        }
        let folder = Utf8PathBuf::from(value.trim().trim_matches('"'));
        let safe = folder
            .components()
            .all(|part| matches!(part, camino::Utf8Component::Normal(_)));
        if !safe {
            continue;
        }
        let empty = fs::read_dir(directory.join(&folder))
            .map_or(true, |mut entries| entries.next().is_none());
        if empty {
            let span = Span {
                start: line_start,
                end: line_start + line.len(),
            };
            problems.push(source.locate((), span).problem(
                Code::MissingSubmodule,
                format!("the submodule {folder} is empty or not there"),
                "git submodule update --init --recursive, or remove it from .gitmodules",
            ));
        }
    }
}
