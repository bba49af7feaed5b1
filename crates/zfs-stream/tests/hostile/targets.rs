//! What is done with hostile input, by the tests beside this file and by cargo-fuzz (`fuzz/`).

use zfs_stream::flatten;
use zfs_stream::format::fletcher4::Fletcher4;
use zfs_stream::format::record::{CHECKSUM_AT, HEADER, RecordType};
use zfs_stream::read::{Filesystem, NoContents, Problem, ReadError, Snapshot, Volume};

/// What a chain is read as.
#[allow(clippy::large_enum_variant, reason = "one at a time")]
pub enum Outcome {
    Files(Filesystem),
    Volume(Volume),
}

/// Reads a chain: whatever it is, this ends, without a panic. What is read can be relied upon, and so can what is flattened
/// of it.
pub fn read(streams: &[&[u8]]) -> Result<Outcome, ReadError> {
    let outcome = read_once(streams)?;
    let mut flat = Vec::new();
    let snapshot = Snapshot::open(streams.iter().copied())?;
    match flatten(snapshot, &mut flat, &mut |_| {}) {
        Ok(_) => {}
        // The one thing that can be read and not be written.
        Err(error) if error.to_string().contains("large dnode") => return Ok(outcome),
        Err(error) => panic!("can be read, not be flattened: {error}"),
    }
    let again = read_once(&[&flat]).expect("what is flattened can't be read");
    match (&outcome, &again) {
        (Outcome::Files(one), Outcome::Files(other)) => {
            assert_eq!(paths(one), paths(other), "flattened files are others");
        }
        (Outcome::Volume(one), Outcome::Volume(other)) => assert_eq!(one.size, other.size),
        _ => panic!("flattened, it is something else"),
    }
    Ok(outcome)
}

fn read_once(streams: &[&[u8]]) -> Result<Outcome, ReadError> {
    let mut snapshot = Snapshot::open(streams.iter().copied())?;
    match Filesystem::read(&mut snapshot, &mut NoContents) {
        Err(ReadError {
            problem: Problem::Unsupported(_),
            ..
        }) => {}
        result => return result.map(Outcome::Files),
    }
    let mut snapshot = Snapshot::open(streams.iter().copied())?;
    let mut end = 0;
    Volume::read(&mut snapshot, &mut |offset, bytes| {
        assert!(offset >= end && !bytes.is_empty(), "data go back");
        end = offset + bytes.len() as u64;
        Ok(())
    })
    .map(Outcome::Volume)
}

/// All paths, which must be such as a file may have.
fn paths(files: &Filesystem) -> Vec<(Vec<u8>, u64)> {
    let mut paths = Vec::new();
    files
        .walk::<()>(b"", &mut |path, node| {
            for name in path
                .split(|byte| *byte == b'/')
                .filter(|_| !path.is_empty())
            {
                assert!(
                    !name.is_empty() && name != b"." && name != b".." && !name.contains(&0),
                    "a bad name: {path:?}"
                );
                assert!(name.len() <= 255);
            }
            let found = files.find(path).expect("a path that leads nowhere");
            assert_eq!(found.object, node.object);
            paths.push((path.to_vec(), node.object));
            Ok(())
        })
        .unwrap_or_default();
    // Names differ, so paths do, and there are no more of them than entries.
    let mut sorted = paths.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), paths.len(), "a path is there twice");
    paths
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes) as usize
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok());
    usize::try_from(bytes.map_or(0, u64::from_le_bytes)).unwrap_or(usize::MAX)
}

/// Length of the payload of a record, as its header has it.
fn payload(header: &[u8]) -> usize {
    let body = &header[8..];
    match RecordType::new(u32_at(header, 0) as u32) {
        Some(RecordType::Begin) => u32_at(header, 4),
        Some(RecordType::Object) => u32_at(body, 20).next_multiple_of(8),
        Some(RecordType::Write) if body[42] == 0 => u64_at(body, 24),
        Some(RecordType::Write) => u64_at(body, 88),
        Some(RecordType::Spill) if body[25] == 0 => u64_at(body, 8),
        Some(RecordType::Spill) => u64_at(body, 32),
        Some(RecordType::WriteEmbedded) => u32_at(body, 44).next_multiple_of(8),
        _ => 0,
    }
}

/// Offsets of the records of a stream, as far as they make sense.
pub fn records(stream: &[u8]) -> Vec<usize> {
    let (mut starts, mut at) = (Vec::new(), 0);
    while at + HEADER <= stream.len() {
        starts.push(at);
        let end = payload(&stream[at..at + HEADER]).checked_add(at + HEADER);
        match end.filter(|end| *end <= stream.len()) {
            Some(end) => at = end,
            None => break,
        }
    }
    starts
}

/// Makes all checksums right, so that what was changed gets past them.
pub fn reseal(stream: &mut [u8]) {
    let mut sum = Fletcher4::default();
    let starts = records(stream);
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(stream.len());
        let record = &mut stream[*start..end];
        let kind = RecordType::new(u32_at(record, 0) as u32);
        if kind == Some(RecordType::Begin) {
            sum = Fletcher4::default();
            sum.update(record);
            continue;
        }
        if kind == Some(RecordType::End) {
            record[8..40].copy_from_slice(&sum.to_bytes());
        }
        let (head, rest) = record.split_at_mut(CHECKSUM_AT);
        sum.update(head);
        rest[..32].copy_from_slice(&sum.to_bytes());
        sum.update(rest);
    }
}
