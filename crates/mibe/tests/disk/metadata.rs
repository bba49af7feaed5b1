//! The host's end of a machine's second serial port: the metadata protocol of SmartOS, version 2 (<https://eng.joyent.com/mdata/protocol.html>).

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The metadata of a machine, and what its guest asked for.
#[derive(Clone, Default)]
pub struct Metadata {
    values: Arc<BTreeMap<String, String>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Metadata {
    pub fn new(values: &[(&str, &str)]) -> Self {
        let values = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self {
            values: Arc::new(values.collect()),
            asked: Arc::default(),
        }
    }

    /// The keys that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Answers until the machine is gone.
    pub fn answer(&self, stream: &UnixStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let reply = self.reply(String::from_utf8_lossy(&line).trim_end());
            let mut stream = stream;
            stream.write_all(reply.as_bytes())?;
            line.clear();
        }
        Ok(())
    }

    fn reply(&self, line: &str) -> String {
        if line == "NEGOTIATE V2" {
            return "V2_OK\n".to_owned();
        }
        // What a client looks for when it has sent an empty line, to know that it is heard.
        let Some(body) = body(line) else {
            return "invalid command\n".to_owned();
        };
        let mut words = body.split(' ');
        let (id, command) = (words.next().unwrap(), words.next());
        let argument = words
            .next()
            .and_then(|word| BASE64.decode(word).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let found = match (command, argument) {
            (Some("GET"), Some(key)) => {
                let value = self.values.get(&key).cloned();
                self.asked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(key);
                value
            }
            (Some("KEYS"), None) => {
                let keys: Vec<_> = self.values.keys().cloned().collect();
                Some(keys.join("\n"))
            }
            // What guests tell of themselves is nothing that they are given again.
            (Some("PUT" | "DELETE"), Some(_)) => Some(String::new()),
            _ => return "invalid command\n".to_owned(),
        };
        let body = match found {
            Some(value) if value.is_empty() => format!("{id} SUCCESS"),
            Some(value) => format!("{id} SUCCESS {}", BASE64.encode(value)),
            None => format!("{id} NOTFOUND"),
        };
        format!("V2 {} {:08x} {body}\n", body.len(), crc32(body.as_bytes()))
    }
}

/// What a request says, when it came whole.
fn body(line: &str) -> Option<&str> {
    let (length, rest) = line.strip_prefix("V2 ")?.split_once(' ')?;
    let (sum, body) = rest.split_once(' ')?;
    let whole = length.parse() == Ok(body.len())
        && u32::from_str_radix(sum, 16) == Ok(crc32(body.as_bytes()));
    whole.then_some(body)
}

/// CRC-32 of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg())
        })
    })
}
