//! Words for a POSIX shell, as ssh hands its command to one (RFC 4254, section 6.5; ssh joins its arguments with blanks).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// A word that a POSIX shell takes for `word` itself, whatever is in it.
pub fn quote(word: &OsStr) -> Vec<u8> {
    let bytes = word.as_bytes();
    // Nothing of these means anything to a shell, wherever it stands in a word.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@%:,".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return bytes.to_vec();
    }
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    quoted.push(b'\'');
    for &byte in bytes {
        if byte == b'\'' {
            quoted.extend_from_slice(b"'\\''");
        } else {
            quoted.push(byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

/// Words with blanks between them.
pub fn quote_all(words: &[OsString]) -> Vec<u8> {
    let quoted: Vec<Vec<u8>> = words.iter().map(|word| quote(word)).collect();
    quoted.join(&b' ')
}
