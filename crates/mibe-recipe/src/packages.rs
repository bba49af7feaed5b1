//! `packages` and `delete_packages`: one package a line.
//!
//! The names end up on the command line of a package manager that runs as root, so what could be taken for an option,
//! a path or a pattern there is refused here.

use std::collections::HashMap;

use crate::codes::Code;
use crate::problem::{Collector, Located, Source, Span};

/// Longest entry, in bytes: URLs are the long ones.
const ENTRY_LENGTH: usize = 1024;

/// Reads a list; entries stay in the order of the file, the second of two equal ones is left out.
pub(crate) fn parse(source: Source<'_>, problems: &mut Collector) -> Vec<Located<String>> {
    let mut entries: Vec<Located<String>> = Vec::new();
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut start = if source.bytes.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    };
    let mut number = 0;
    for line in source
        .bytes
        .get(start..)
        .unwrap_or_default()
        .split(|&byte| byte == b'\n')
    {
        number += 1;
        let mut first = None;
        let mut at = 0;
        while at < line.len() {
            if is_blank(line[at]) {
                at += 1;
                continue;
            }
            if line[at] == b'#' {
                break;
            }
            let length = line[at..]
                .iter()
                .take_while(|&&byte| !is_blank(byte))
                .count();
            let span = Span {
                start: start + at,
                end: start + at + length,
            };
            let token = &line[at..at + length];
            at += length;
            let place = source.located((), span, number, start);
            if let Some((code, message, advice)) = wrong_with(token) {
                problems.push(place.problem(code, message, advice));
                break;
            }
            let token = String::from_utf8_lossy(token).into_owned();
            if let Some(first) = &first {
                problems.push(place.problem(
                    Code::SeveralPackages,
                    format!("`{token}` stands on the same line as `{first}`"),
                    "write one package a line",
                ));
            }
            first.get_or_insert_with(|| token.clone());
            if let Some(other) = seen.get(&token) {
                problems.push(place.problem(
                    Code::DuplicatePackage,
                    format!("`{token}` is listed already, on line {other}"),
                    "remove one of the two",
                ));
                continue;
            }
            seen.insert(token.clone(), number);
            entries.push(place.with(token));
        }
        start += line.len() + 1;
    }
    entries
}

/// A carriage return is one: files come from Windows too.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// Why an entry must not reach a package manager, or nothing.
fn wrong_with(token: &[u8]) -> Option<(Code, String, &'static str)> {
    let shown = String::from_utf8_lossy(token)
        .escape_debug()
        .take(80)
        .collect::<String>();
    if token.len() > ENTRY_LENGTH {
        return Some((
            Code::BadPackage,
            format!("an entry of {} bytes", token.len()),
            "write one package a line",
        ));
    }
    if token.starts_with(b"-") {
        return Some((
            Code::BadPackage,
            format!("`{shown}` would be an option of the package manager"),
            "packages are named without options; what needs one goes into customize",
        ));
    }
    if !token[0].is_ascii_alphanumeric() {
        return Some((
            Code::BadPackage,
            format!("`{shown}` is no package name: those begin with a letter or a digit"),
            "write a package name or an http(s) URL",
        ));
    }
    // apt-get install NAME- removes NAME.
    if token.ends_with(b"-") {
        return Some((
            Code::BadPackage,
            format!("`{shown}` ends with `-`, which asks apt to remove the package"),
            "to remove a package, list it in delete_packages",
        ));
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._:/~=<>@%,".contains(byte);
    if token.iter().all(allowed) {
        return None;
    }
    Some((
        Code::BadPackage,
        format!("`{shown}` holds characters that no package name has"),
        "a name, a version and a URL are of letters, digits and + - . _ : / ~ = < > @ % ,",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
        let mut problems = Collector::default();
        let entries = parse(
            Source {
                file: "packages".into(),
                bytes,
            },
            &mut problems,
        );
        let entries = entries.into_iter().map(|entry| entry.value).collect();
        let problems = problems
            .finish()
            .iter()
            .map(|p| format!("{p} [{}]", p.code))
            .collect();
        (entries, problems)
    }

    #[test]
    fn lists_of_the_wild() {
        let text = b"\xef\xbb\xbf# List packages\nhtop\n\n  nginx \t\npercona-server-5.6.13nb4\r\npercona-client>=5.6.32\n\
            https://example.com/a/b_1.0.tgz\ng++\nlibc6:i386 # needed by x\nnginx=1.22.1-9+deb12u1\nlast";
        let (entries, problems) = read(text);
        assert_eq!(
            entries,
            [
                "htop",
                "nginx",
                "percona-server-5.6.13nb4",
                "percona-client>=5.6.32",
                "https://example.com/a/b_1.0.tgz",
                "g++",
                "libc6:i386",
                "nginx=1.22.1-9+deb12u1",
                "last"
            ]
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(read(b"").0, [""; 0]);
        assert_eq!(read(b"# nothing\n\n").0, [""; 0]);
    }

    #[test]
    fn doubtful_entries_are_told_with_their_place() {
        let (entries, problems) = read(b"curl\nwget git\ncurl\n");
        assert_eq!(entries, ["curl", "wget", "git"]);
        assert_eq!(
            problems,
            [
                "packages:2:6: warning: `git` stands on the same line as `wget` [several-packages]",
                "packages:3:1: warning: `curl` is listed already, on line 1 [duplicate-package]",
            ]
        );
    }

    #[test]
    fn hostile_entries_are_errors() {
        for token in [
            "-y",
            "--allow-unauthenticated",
            "-oDPkg::Pre-Invoke::=id",
            "a;id",
            "a|b",
            "$(id)",
            "`id`",
            "a&b",
            "a\\b",
            "a'b",
            "a\"b",
            "*",
            "a*",
            "a?",
            "[a]",
            "/etc/x.deb",
            "./x.deb",
            "../x",
            "nginx-",
            "a\u{1b}[2J",
            "a\0b",
            "ü",
            "~a",
            "!a",
            "{a,b}",
            "(a)",
            "^kernel",
            "a^",
            "+x",
        ] {
            let (entries, problems) = read(format!("ok\n  {token}\n").as_bytes());
            assert_eq!(entries, ["ok"], "{token}");
            assert_eq!(problems.len(), 1, "{token}: {problems:?}");
            assert!(
                problems[0].starts_with("packages:2:3: error: "),
                "{token}: {problems:?}"
            );
        }
        assert_eq!(read(b"a\xff").1.len(), 1);
        assert_eq!(read(&[b'a'; 2000]).1.len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_upset_it_and_what_it_takes_is_tame(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            for entry in read(&bytes).0 {
                proptest::prop_assert!(entry.starts_with(|c: char| c.is_ascii_alphanumeric()) && !entry.ends_with('-'));
                proptest::prop_assert!(entry.chars().all(|c| c.is_ascii_graphic()));
            }
        }
    }
}
