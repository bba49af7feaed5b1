//! The commands of a shell script, as far as they can be known without running it.
//!
//! This is no parser of a shell: it knows quotes, comments, here-documents and what ends a command, which is enough to tell a
//! command from a word. What it takes for a command wrongly costs a wrong warning.

/// A command of a script: its words with the byte that each begins at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<(usize, String)>,
}

/// Words after which another command begins.
const BEFORE_COMMANDS: [&str; 16] = [
    "if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "exec", "sudo",
    "nohup", "env", "command", "builtin",
];

/// Commands that a script may have: what comes after them is not looked at.
const MOST: usize = 100_000;

/// Longest word that is kept, in bytes.
const WORD: usize = 256;

/// Finds the commands of a script.
pub(super) fn commands(script: &[u8]) -> Vec<Command> {
    let mut lexer = Lexer {
        script,
        at: 0,
        commands: Vec::new(),
        now: Command::default(),
        documents: Vec::new(),
    };
    lexer.run();
    lexer.commands
}

struct Lexer<'a> {
    script: &'a [u8],
    at: usize,
    commands: Vec<Command>,
    now: Command,
    /// Ends of the here-documents that begin after this line, and whether tabs before them count.
    documents: Vec<(Vec<u8>, bool)>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<u8> {
        self.script.get(self.at).copied()
    }

    fn run(&mut self) {
        while let Some(byte) = self.peek() {
            if self.commands.len() >= MOST {
                return;
            }
            match byte {
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'\\' if self.script.get(self.at + 1) == Some(&b'\n') => self.at += 2,
                b'\n' => {
                    self.at += 1;
                    self.end();
                    self.skip_documents();
                }
                b'#' => self.skip_line(),
                b'<' if self.script[self.at..].starts_with(b"<<")
                    && !self.script[self.at..].starts_with(b"<<<") =>
                {
                    self.document();
                }
                b';' | b'&' | b'|' | b'(' | b')' | b'`' => {
                    self.at += 1;
                    self.end();
                }
                b'<' | b'>' => {
                    self.at += 1;
                    // What a redirection names is no word of the command.
                    while matches!(self.peek(), Some(b'<' | b'>' | b'&' | b' ' | b'\t')) {
                        self.at += 1;
                    }
                    if !matches!(self.peek(), Some(b'\n') | None) {
                        let _ = self.word();
                    }
                }
                _ => {
                    let start = self.at;
                    let word = self.word();
                    self.push(start, word);
                }
            }
        }
        self.end();
    }

    fn push(&mut self, start: usize, word: String) {
        if self.now.words.is_empty() {
            let assignment = word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            });
            if assignment || BEFORE_COMMANDS.contains(&word.as_str()) {
                return;
            }
        }
        self.now.words.push((start, word));
    }

    fn end(&mut self) {
        if !self.now.words.is_empty() {
            self.commands.push(std::mem::take(&mut self.now));
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    /// A word, with its quotes taken away. What `$(…)` runs is looked at as a command of its own.
    fn word(&mut self) -> String {
        let mut word = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>'
                | b'`' => break,
                b'\\' => {
                    self.at += 2;
                    word.push(b'?');
                }
                b'\'' | b'"' => {
                    self.at += 1;
                    while let Some(inner) = self.peek().filter(|&inner| inner != byte) {
                        self.at += if inner == b'\\' && byte == b'"' { 2 } else { 1 };
                        word.push(inner);
                    }
                    self.at += 1;
                }
                b'$' if self.script.get(self.at + 1) == Some(&b'{') => {
                    while self
                        .peek()
                        .is_some_and(|byte| byte != b'}' && byte != b'\n')
                    {
                        self.at += 1;
                    }
                    self.at += 1;
                    word.push(b'$');
                }
                _ => {
                    word.push(byte);
                    self.at += 1;
                }
            }
        }
        if word.is_empty() {
            // What can't begin a word is stepped over, or there would be no end.
            self.at += 1;
        }
        word.truncate(WORD);
        String::from_utf8_lossy(&word).into_owned()
    }

    /// `<<EOF`, `<<-EOF`, `<<'EOF'`.
    fn document(&mut self) {
        self.at += 2;
        let tabs = self.peek() == Some(b'-');
        if tabs {
            self.at += 1;
        }
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        if matches!(self.peek(), Some(b'\n') | None) {
            return;
        }
        let end = self.word();
        self.documents.push((end.into_bytes(), tabs));
    }

    fn skip_documents(&mut self) {
        for (end, tabs) in std::mem::take(&mut self.documents) {
            while self.at < self.script.len() {
                let rest = &self.script[self.at..];
                let length = rest
                    .iter()
                    .position(|&byte| byte == b'\n')
                    .unwrap_or(rest.len());
                let mut line = rest[..length]
                    .strip_suffix(b"\r")
                    .unwrap_or(&rest[..length]);
                while tabs && line.starts_with(b"\t") {
                    line = &line[1..];
                }
                let found = line == end;
                self.at = (self.at + length + 1).min(self.script.len());
                if found {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::commands;

    fn words(script: &str) -> Vec<String> {
        commands(script.as_bytes())
            .iter()
            .map(|command| {
                command
                    .words
                    .iter()
                    .map(|(_, word)| word.as_str())
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    #[test]
    fn commands_are_told_from_words() {
        assert_eq!(
            words(
                "# apt-get\nPATH=/bin:/usr/bin\nset -o errexit\nA=b apt-get -y install x; echo 'pkgin in x' && pkgin -y in \"y z\"\n"
            ),
            [
                "set -o errexit",
                "apt-get -y install x",
                "echo pkgin in x",
                "pkgin -y in y z"
            ]
        );
        assert_eq!(
            words(
                "if command -v apt-get >/dev/null; then\n  x=$(svcs -a | wc -l)\nfi\ncat > /etc/x <<-'EOF'\n\tapt-get update\n\tEOF\necho end"
            ),
            ["-v apt-get", "svcs -a", "wc -l", "fi", "cat", "echo end"]
        );
        assert_eq!(words("a \\\n  b 2>&1 c\n"), ["a b 2 c"]);
        assert_eq!(
            words("echo \"${X:-apt-get}\" `date`"),
            ["echo ${X:-apt-get}", "date"]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            for command in commands(&bytes) {
                proptest::prop_assert!(!command.words.is_empty());
                for (at, _) in command.words {
                    proptest::prop_assert!(at < bytes.len());
                }
            }
        }
    }
}
