//! Writes a manifest of the shell dialect.

use std::fmt::Write as _;

/// A value as a shell takes it, the plainest way there is: `512`, `"a value"`, `'with $'`, `'it'"'"'s'`, `$'of\ntwo lines'`.
pub(crate) fn quoted(value: &str) -> String {
    if value.contains('\n') {
        let mut text = String::from("$'");
        for character in value.chars() {
            match character {
                '\n' => text.push_str("\\n"),
                '\\' => text.push_str("\\\\"),
                '\'' => text.push_str("\\'"),
                other => text.push(other),
            }
        }
        text.push('\'');
        return text;
    }
    if !value.contains(['"', '$', '`', '\\']) {
        return format!("\"{value}\"");
    }
    if !value.contains('\'') {
        return format!("'{value}'");
    }
    format!("'{}'", value.replace('\'', "'\"'\"'"))
}

/// A line `key=value`.
pub(crate) fn line(out: &mut String, key: &str, value: &str, bare: bool) {
    // Writing to a String cannot fail.
    let _ = if bare {
        writeln!(out, "{key}={value}")
    } else {
        writeln!(out, "{key}={}", quoted(value))
    };
}
