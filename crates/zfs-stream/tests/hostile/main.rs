//! Streams that lie: whatever is in them, reading ends, with an error that says where or with something to rely upon, and takes no more
//! memory than the stream is long.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod evil;
mod targets;

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use targets::{Outcome, read, records, reseal};

/// What all of these tests together may take of memory, in bytes: an allocation of what a stream claims, and not of what it
/// holds, would be beyond it, and ends the process.
const MEMORY: u64 = 3 << 30;

/// No case takes a tenth of this.
const LONG: Duration = Duration::from_secs(20);

fn bounded() {
    let limit = Rlimit {
        current: Some(MEMORY),
        ..getrlimit(Resource::As)
    };
    setrlimit(Resource::As, limit).unwrap();
}

fn sample(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/samples/{name}.zfs.xz"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    liblzma::read::XzDecoder::new(file)
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// Chains: all but the last stay as they are.
const CHAINS: [&[&str]; 8] = [
    &["v3-full"],
    &["v3-p-full"],
    &["v5xd-full"],
    &["v5r4k-full"],
    &["v3-full", "v3-incr"],
    &["v5xd-full", "v5xd-incr"],
    &["z8-full"],
    &["z8-full", "z8-incr"],
];

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Reads a chain with another last stream; says whether that was an error.
fn fails(bases: &[Vec<u8>], last: &[u8]) -> bool {
    let mut chain: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
    chain.push(last);
    let start = Instant::now();
    let result = read(&chain);
    assert!(start.elapsed() < LONG, "that took {:?}", start.elapsed());
    match result {
        Ok(Outcome::Files(files)) => {
            assert!(!files.is_empty());
            false
        }
        Ok(Outcome::Volume(_)) => false,
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("offset ") && text.contains("record "),
                "{text}"
            );
            assert!(
                error.place.offset
                    <= last.len().max(chain.iter().map(|s| s.len()).max().unwrap()) as u64
            );
            true
        }
    }
}

fn load(chain: &[&str]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut streams: Vec<Vec<u8>> = chain.iter().map(|name| sample(name)).collect();
    let last = streams.pop().unwrap();
    (streams, last)
}

#[test]
fn truncated_anywhere() {
    bounded();
    for chain in CHAINS {
        let (bases, last) = load(chain);
        assert!(!fails(&bases, &last), "{chain:?}");
        let starts = records(&last);
        assert!(starts.len() > 5, "{chain:?}");
        // At every record, and somewhere inside of each; of long streams at some.
        for (index, start) in starts
            .iter()
            .enumerate()
            .filter(|(index, _)| starts.len() < 1200 || index % 7 == 0)
        {
            assert!(fails(&bases, &last[..*start]), "{chain:?} cut at {start}");
            let end = starts.get(index + 1).copied().unwrap_or(last.len());
            let inside = start + (end - start) / 2;
            assert!(fails(&bases, &last[..inside]), "{chain:?} cut at {inside}");
        }
    }
}

#[test]
fn flipped_bits_are_found() {
    bounded();
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for chain in CHAINS {
        let (bases, last) = load(chain);
        // The names of a compound stream's own end are not in any checksum.
        let end = last.len() - if chain[0].contains("-p-") { 2 * 312 } else { 0 };
        for _ in 0..150 {
            let mut changed = last.clone();
            let at = random.below(end);
            changed[at] ^= 1 << random.below(8);
            assert!(fails(&bases, &changed), "{chain:?}: a bit of byte {at}");
        }
    }
}

/// Seconds that the next test may take: some, or with `cargo xtask test --slow` many.
fn seconds() -> u64 {
    if std::env::var_os("MIBE_SLOW_TESTS").is_some() {
        600
    } else {
        20
    }
}

#[test]
fn changes_under_right_checksums() {
    bounded();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let chains: Vec<_> = CHAINS.iter().map(|chain| load(chain)).collect();
    let (start, mut cases, mut errors) = (Instant::now(), 0, 0);
    let seconds = Duration::from_secs(seconds());
    while start.elapsed() < seconds || cases < 200 {
        let (bases, last) = &chains[random.below(chains.len())];
        let mut changed = last.clone();
        let starts = records(&changed);
        for _ in 0..=random.below(4) {
            // Where the structures are: headers, bonuses, and the starts and ends of blocks.
            let record = starts[random.below(starts.len())];
            let at = match random.below(4) {
                0 => record + random.below(64),
                1 => record + 312 + random.below(320),
                2 => record + 312 + random.below(4096),
                _ => random.below(changed.len()),
            };
            if let Some(byte) = changed.get_mut(at) {
                match random.below(4) {
                    0 => *byte = 0,
                    1 => *byte = 0xff,
                    2 => *byte ^= 1 << random.below(8),
                    _ => *byte = random.below(256) as u8,
                }
            }
        }
        reseal(&mut changed);
        errors += u32::from(fails(bases, &changed));
        cases += 1;
    }
    // Were nothing of it noticed, or nothing get through, it would not be a test.
    assert!(errors > 0 && errors < cases, "{errors} of {cases}");
    println!("{cases} cases, {errors} errors");
}
