//! Damaged files: cut short, with something after them, with bits flipped.

use mibe_image::file::{DecompressError, decompressed};

use crate::decompress::written;
use crate::support::{COMPRESSORS, all, compressed, sample};

/// Compressed in every way that has check sums, and the content.
fn files() -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let plain = sample(60_000);
    let mut files: Vec<_> = COMPRESSORS
        .iter()
        .filter(|(program, ..)| *program != "cat")
        .map(|(program, options, _)| {
            let bytes = compressed(program, options, &plain);
            (format!("{program} {options:?}"), bytes, plain.clone())
        })
        .collect();
    let long = sample(1_200_000);
    files.push(("three members".to_owned(), written(&long), long));
    files
}

/// Reads all of it; the damage must have its place.
fn outcome(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let input = decompressed(bytes).map_err(|error| error.to_string())?;
    let packing = input.packing();
    let (content, error) = all(input, 50_000);
    let Some(error) = error else {
        return Ok(content);
    };
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    match error.downcast::<DecompressError>().unwrap() {
        DecompressError::Damaged {
            packing: told,
            offset,
            reason,
        } => {
            assert_eq!(told, packing);
            assert!(offset <= bytes.len() as u64, "{offset}: {reason}");
            Err(reason)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn files_cut_short_are_damaged() {
    for (what, bytes, plain) in files() {
        assert!(outcome(&bytes).unwrap() == plain, "{what}");
        let ends = (6..20).chain((20..bytes.len()).step_by(bytes.len() / 40));
        for length in ends.chain(bytes.len() - 20..bytes.len()) {
            match outcome(&bytes[..length]) {
                Err(_) => {}
                // Between two members or frames, where nothing tells that there was more.
                Ok(content) => assert!(
                    what == "three members" && content.len() % (512 << 10) == 0
                        || what.starts_with("pzstd") && content.is_empty(),
                    "{what}: {length}"
                ),
            }
        }
    }
}

#[test]
fn something_after_the_end_is_damage() {
    for (what, mut bytes, _) in files() {
        let length = bytes.len();
        for garbage in [
            &b"garbage"[..],
            &[0x1f],
            &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0],
            &[1; 5000],
        ] {
            bytes.truncate(length);
            bytes.extend(garbage);
            assert!(outcome(&bytes).is_err(), "{what}: {garbage:?}");
        }
    }
}

/// Garbage that ends like the member before it, and a member after that.
#[test]
fn garbage_between_members_is_seen() {
    let member = written(&sample(5000));
    let footer = &member[member.len() - 8..];
    for between in [&b"garbage"[..], b"x", &[9; 2000]] {
        for end in [footer, &[]] {
            let bytes = [&member[..], between, end, &member].concat();
            assert!(
                outcome(&bytes).unwrap_err().contains("follows"),
                "{between:?}"
            );
        }
    }
}

/// Every bit counts, unless it changes nothing of the content.
#[test]
fn flipped_bits_are_damage() {
    for (what, bytes, plain) in files() {
        let mut seen = 0;
        let places = (0..bytes.len()).step_by((bytes.len() / 80).max(1));
        for at in places.chain(0..30).chain(bytes.len() - 30..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            match outcome(&damaged) {
                Err(_) => seen += 1,
                // Without its magic it is taken as it is.
                Ok(content) if at < 6 => assert!(content == plain || content == damaged),
                Ok(content) => assert!(content == plain, "{what}: byte {at}"),
            }
        }
        assert!(seen > 80, "{what}: {seen}");
    }
}

#[test]
fn a_window_of_gigabytes_is_refused() {
    let bytes = compressed(
        "zstd",
        &["-q", "--ultra", "--long=31", "-1"],
        &sample(10_000),
    );
    // From standard input zstd can't know that less will do.
    assert!(outcome(&bytes).unwrap_err().contains("indow"));
}
