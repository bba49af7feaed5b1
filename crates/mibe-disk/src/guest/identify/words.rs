//! Text as a shell script takes it apart.

/// Lines as the shell's `read` gives them: without blanks around them, and without the last one if it has no end.
pub(super) fn lines(content: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(content);
    let Some((whole, _)) = text.rsplit_once('\n') else {
        return Vec::new();
    };
    whole
        .split('\n')
        .map(|line| line.trim_matches([' ', '\t']).replace('\\', ""))
        .collect()
}

/// Whether a line has `key`, quotes, blanks and a colon.
pub(super) fn has_key(line: &str, key: &str) -> bool {
    line.match_indices(key).any(|(at, _)| {
        let rest = line[at + key.len()..].trim_start_matches(['"', '\'']);
        rest.trim_start_matches([' ', '\t', '\r', '\x0b', '\x0c'])
            .starts_with(':')
    })
}

/// The value if it is a list on one line.
pub(super) fn flow(value: &str) -> Option<String> {
    let value = value.rsplit(':').next().unwrap_or_default().trim();
    let inner = value.strip_suffix(']').unwrap_or(value);
    let inner = inner.strip_prefix('[').unwrap_or(inner);
    (!value.is_empty() && !inner.trim().is_empty()).then(|| value.to_owned())
}

/// A list's words, as the shell makes them of it.
pub(super) fn array(value: &str) -> String {
    let value = value.strip_prefix('[').unwrap_or(value);
    let value = value.strip_suffix(']').unwrap_or(value);
    let words: Vec<&str> = value.split(',').map(|word| unquote(word.trim())).collect();
    words.join(" ").trim().to_owned()
}

pub(super) fn unquote(word: &str) -> &str {
    for quote in ['"', '\''] {
        if word.len() >= 2 && word.starts_with(quote) && word.ends_with(quote) {
            return &word[1..word.len() - 1];
        }
    }
    word
}

pub(super) fn with_none(mut list: Vec<String>) -> Vec<String> {
    if !list.iter().any(|name| name == "None") {
        list.push("None".into());
    }
    list
}

/// `2???-??-??`
pub(super) fn is_date(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() == 10 && bytes[0] == b'2' && bytes[4] == b'-' && bytes[7] == b'-'
}
