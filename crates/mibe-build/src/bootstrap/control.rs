//! Paragraphs of `Key: value` lines (deb822(5)): InRelease, Packages, *.sources.

use std::collections::BTreeMap;

/// One paragraph; keys in lower case, lines of a continued value joined by line ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paragraph(BTreeMap<String, String>);

impl Paragraph {
    /// The value of a key, given in lower case.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether it has no lines.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next line of a file; lines that are none of a paragraph are left out.
    pub fn line(&mut self, line: &str, last: &mut String) {
        if line.starts_with('#') {
            return;
        }
        if line.starts_with([' ', '\t']) {
            if let Some(value) = self.0.get_mut(last.as_str()) {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            *last = key.trim().to_ascii_lowercase();
            self.0.insert(last.clone(), value.trim().to_owned());
        }
    }
}

/// All paragraphs of a text.
pub fn paragraphs(text: &str) -> Vec<Paragraph> {
    let mut all = Vec::new();
    let mut paragraph = Paragraph::default();
    let mut last = String::new();
    for line in text.lines() {
        if line.trim().is_empty() {
            if !paragraph.is_empty() {
                all.push(std::mem::take(&mut paragraph));
            }
        } else {
            paragraph.line(line, &mut last);
        }
    }
    if !paragraph.is_empty() {
        all.push(paragraph);
    }
    all
}
