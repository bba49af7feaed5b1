//! Placeholders of `motd`.

use crate::codes::Code;
use crate::problem::{Collector, Source, Span};

/// Those that a build fills, see [`crate::Recipe::motd_text`].
const FILLED: [&[u8]; 4] = [b"name", b"version", b"homepage", b"brand"];

pub(super) fn check(motd: &[u8], problems: &mut Collector) {
    let source = Source {
        file: "motd".into(),
        bytes: motd,
    };
    let mut told: Vec<&[u8]> = Vec::new();
    let mut at = 0;
    while let Some(found) = motd
        .get(at..)
        .and_then(|rest| rest.iter().position(|&byte| byte == b'%'))
    {
        let start = at + found;
        let word: usize = motd[start + 1..]
            .iter()
            .take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
            .count();
        let end = start + 1 + word;
        if word == 0 || motd.get(end) != Some(&b'%') {
            at = start + 1;
            continue;
        }
        at = end + 1;
        let name = &motd[start + 1..end];
        if FILLED.contains(&name) || told.contains(&name) || told.len() >= 20 {
            continue;
        }
        told.push(name);
        let name = String::from_utf8_lossy(name);
        let advice = match name.to_ascii_lowercase().as_str() {
            lower @ ("name" | "version" | "homepage" | "brand") => {
                format!("did you mean `%{lower}%`?")
            }
            _ => "nothing, if the image fills it at its first boot".to_owned(),
        };
        let place = source.locate(
            (),
            Span {
                start,
                end: end + 1,
            },
        );
        problems.push(place.problem(
            Code::UnknownPlaceholder,
            format!("`%{name}%` is not filled by the build"),
            advice,
        ));
    }
}
