//! Private keys, tokens and passwords.
//!
//! Nothing found is ever shown: a finding names the place and the kind, for its text goes into logs.

use std::sync::LazyLock;

use camino::Utf8Path;
use regex::bytes::{Captures, Regex};

use crate::codes::Code;
use crate::problem::{Collector, Location, Source, Span};

/// Findings of each kind that are told of one file.
const MOST: usize = 5;

/// What a pattern finds.
struct Pattern {
    what: &'static str,
    kind: Kind,
    regex: LazyLock<Option<Regex>>,
}

/// How sure a pattern is.
#[derive(Clone, Copy)]
enum Kind {
    /// What has its form is one.
    Token,
    /// What stands before the @ of a URL.
    Url,
    /// The value of what is called a password.
    Assigned,
}

impl Kind {
    fn code(self) -> Code {
        match self {
            Self::Token => Code::Secret,
            Self::Url | Self::Assigned => Code::Password,
        }
    }
}

macro_rules! pattern {
    ($what:literal, $kind:ident, $regex:literal) => {
        Pattern {
            what: $what,
            kind: Kind::$kind,
            regex: LazyLock::new(|| Regex::new($regex).ok()),
        }
    };
}

/// Tokens whose form their issuers publish, so that what has the form is one.
static PATTERNS: [Pattern; 8] = [
    pattern!(
        "a private key",
        Token,
        r"(?-u)-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\r?\n(?:[A-Za-z-]+: [^\n]*\n)*\s*[A-Za-z0-9+/=]{20,}"
    ),
    pattern!(
        "an access token",
        Token,
        r"(?-u)\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}\b|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}|glpat-[A-Za-z0-9_-]{20}|xox[abprs]-[A-Za-z0-9-]{10}|sk_live_[A-Za-z0-9]{16}|npm_[A-Za-z0-9]{36}|AIza[0-9A-Za-z_-]{35}|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|hvs\.[A-Za-z0-9_-]{24}|dop_v1_[0-9a-f]{64})"
    ),
    pattern!(
        "a secret key",
        Token,
        r#"(?i-u)aws_?secret_?access_?key["']?[ \t]*[=:][ \t]*["']?[a-z0-9/+]{40}(?:[^a-z0-9/+=]|$)"#
    ),
    pattern!(
        "a password on a command line",
        Url,
        r#"(?-u)\bmysql(?:admin|dump|import)?\b[^\n;|&]*[ \t](?:-p|--password=)["']?(?P<value>[^\s'";|&]{4,})"#
    ),
    pattern!(
        "a password on a command line",
        Url,
        r#"(?-u)\bcurl\b[^\n;|&]*[ \t](?:-u|--user)[ \t=]?["']?[^\s:"'$]+:(?P<value>[^\s"']{3,})"#
    ),
    pattern!(
        "a password",
        Url,
        r#"(?-u)\becho[ \t]+["']?[a-z_][a-z0-9_-]*:(?P<value>[^\s"'|]{3,})["']?[ \t]*\|[ \t]*(?:/usr/sbin/)?chpasswd"#
    ),
    pattern!(
        "a URL with a password",
        Url,
        r#"(?-u)\b[a-z][a-z0-9+.-]*://[^/\s:@"'$<>{}%\[\]]*:(?P<value>[^/\s:@"'<>\[\]]{3,})@[A-Za-z0-9\[]"#
    ),
    pattern!(
        "a password",
        Assigned,
        r#"(?i-u)(?:^|[^A-Za-z0-9])[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|pwd|secret|api_?key|auth_?token|access_?token)["']?(?:[ \t]*=>?[ \t]*|[ \t]*:[ \t]+)["']?(?P<value>[^\s"'#;,|&()\[\]]{6,})"#
    ),
];

/// The hash of a password in `shadow`.
static HASH: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?m-u)^[a-z_][a-z0-9_-]*:(?P<value>\$(?:1|2[abxy]|5|6|y|md5)\$[^:\n]+):").ok()
});

pub(super) fn check(file: &Utf8Path, bytes: &[u8], problems: &mut Collector) {
    let beginning = &bytes[..bytes.len().min(8 << 10)];
    if bytes.is_empty() || beginning.contains(&0) {
        return;
    }
    let source = Source { file, bytes };
    for pattern in &PATTERNS {
        let Some(regex) = pattern.regex.as_ref() else {
            continue;
        };
        let mut told = 0;
        for found in regex.captures_iter(bytes) {
            if told >= MOST {
                break;
            }
            let counts = match pattern.kind {
                Kind::Token => true,
                Kind::Url => is_literal(bytes, &found),
                Kind::Assigned => is_literal(bytes, &found) && is_password(&found),
            };
            if !counts {
                continue;
            }
            told += 1;
            tell(source, &found, pattern.kind.code(), pattern.what, problems);
        }
    }
    if file.as_str().ends_with("etc/shadow")
        && let Some(regex) = HASH.as_ref()
    {
        for found in regex.captures_iter(bytes).take(MOST) {
            tell(
                source,
                &found,
                Code::Password,
                "the hash of a password",
                problems,
            );
        }
    }
}

fn tell(
    source: Source<'_>,
    found: &Captures<'_>,
    code: Code,
    what: &str,
    problems: &mut Collector,
) {
    let Some(whole) = found.name("value").or_else(|| found.get(0)) else {
        return;
    };
    let span = Span {
        start: whole.start(),
        end: whole.end(),
    };
    let mut place = source.locate((), span);
    place.location = without_text(place.location);
    problems.push(place.problem(
        code,
        format!("there is {what} here"),
        match code {
            Code::Secret => {
                "remove it, make a new one where it was used, and give it to machines as metadata"
            }
            _ => "let machines make their own, or read it from metadata",
        },
    ));
}

/// The line is not shown.
fn without_text(mut location: Location) -> Location {
    location.text = String::new();
    location
}

/// What documentation writes for a password.
const DUMMIES: [&[u8]; 12] = [
    b"pass",
    b"passwd",
    b"password",
    b"secret",
    b"changeme",
    b"change_me",
    b"example",
    b"xxx",
    b"xxxx",
    b"your_password",
    b"yourpassword",
    b"mysecret",
];

/// Whether a value stands for itself, in a line that counts.
fn is_literal(bytes: &[u8], found: &Captures<'_>) -> bool {
    let Some(value) = found.name("value") else {
        return false;
    };
    let (start, value) = (value.start(), value.as_bytes());
    let dummy = DUMMIES
        .iter()
        .any(|dummy| value.eq_ignore_ascii_case(dummy))
        || (value.starts_with(b"__") && value.ends_with(b"__"))
        || (value.starts_with(b"@@") && value.ends_with(b"@@"));
    // A variable, a template, a call: what stands for a password.
    let template = dummy || value.iter().any(|byte| b"$%{}<>*`\\".contains(byte));
    !template && !is_comment(bytes, start)
}

/// Whether a value looks like a password and not like a word or the place of one.
fn is_password(found: &Captures<'_>) -> bool {
    let value = found
        .name("value")
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    let path = value.starts_with(b"@") || (value.contains(&b'/') && !value.contains(&b'+'));
    let has = |wanted: fn(&u8) -> bool| value.iter().any(wanted);
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    let cased = has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && !value.contains(&b'.')
        && !value.contains(&b'_');
    !path && (mixed || (cased && value.len() >= 10))
}

/// Examples in comments are most of what looks like a password.
fn is_comment(bytes: &[u8], at: usize) -> bool {
    let start = bytes[..at]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = bytes[start..at].trim_ascii_start();
    line.starts_with(b"#")
        || line.starts_with(b";")
        || line.starts_with(b"//")
        || line.starts_with(b"*")
        || line.starts_with(b"<!--")
}
