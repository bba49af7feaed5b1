//! Expanding what the real programs compress.

use std::io::{self, Read};
use std::sync::mpsc;
use std::time::Duration;

use mibe_image::file::decompress::ReadAhead;
use mibe_image::file::{CHUNK, Compression, ImageWriter, Packing, decompressed};
use mibe_image::library::ImagePaths;
use mibe_image::manifest::FileCompression;

use crate::support::{COMPRESSORS, Folder, all, compressed, sample, through};

fn expanded(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (content, error) = all(decompressed(bytes).unwrap(), piece);
    assert!(error.is_none(), "{error:?}");
    content
}

/// What [`ImageWriter`] makes of it.
pub fn written(input: &[u8]) -> Vec<u8> {
    let folder = Folder::new();
    let paths = ImagePaths::new(folder.path(), "x", "1", Compression::Gzip);
    let mut writer = ImageWriter::create(&paths, "t").unwrap();
    io::copy(&mut &input[..], &mut writer).unwrap();
    let file = writer.finish().unwrap();
    std::fs::read(file.temporary_path().unwrap()).unwrap()
}

#[test]
fn every_compressor_is_read_and_told() {
    for (program, options, extension) in COMPRESSORS {
        for length in [0, 1, 5, 100_000, 3 << 20] {
            let plain = sample(length);
            let bytes = compressed(program, options, &plain);
            let what = format!("{program} {options:?}, {length}");
            let packing = decompressed(&bytes[..]).unwrap().packing();
            assert_eq!(packing.extension(), *extension, "{what}");
            for piece in [777, 1 << 20] {
                assert!(expanded(&bytes, piece) == plain, "{what}");
            }
            let ahead = ReadAhead::new(decompressed(io::Cursor::new(bytes)).unwrap()).unwrap();
            assert!(all(ahead, 100_000).0 == plain, "{what}");
        }
    }
}

#[test]
fn labels_are_those_of_manifests() {
    for packing in Packing::ALL {
        let label = packing.label();
        assert_eq!(label.is_none(), packing == Packing::Zstd);
        assert!(label.is_none_or(|label| label.name() == packing.name()));
    }
    assert_eq!(Packing::Xz.label(), Some(FileCompression::Xz));
}

/// A byte at a time, as a slow pipe gives them.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(1);
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn parts_follow_each_other_and_pipes_may_be_slow() {
    let plain = sample(40_000);
    for (program, options, _) in COMPRESSORS {
        let parts = [&plain[..1], &plain[1..5000], &[], &plain[5000..]];
        let bytes = parts
            .map(|part| compressed(program, options, part))
            .concat();
        assert!(expanded(&bytes, 4096) == plain, "{program} {options:?}");
        let (slow, error) = all(decompressed(Trickle(&bytes)).unwrap(), 4096);
        assert!(error.is_none() && slow == plain, "{program} {options:?}");
    }
    for program in ["gzip", "xz"] {
        let mut bytes = compressed(program, &[], &plain);
        bytes.extend([0; 512]);
        assert!(expanded(&bytes, 4096) == plain, "{program}");
    }
}

/// Members of every kind in every order: as written here, with a name, of nothing, longer than is expanded at once.
#[test]
fn members_of_gzip_may_be_of_any_kind() {
    let folder = Folder::new();
    let plain = sample(CHUNK * 3 + 1234);
    let path = folder.write("name", &plain[..5000]);
    let named = through("gzip", &["-c", path.as_str()], &[]);
    let long = through("gzip", &["-nc"], &sample(2 << 20));
    let kinds: [(Vec<u8>, Vec<u8>); 5] = [
        (written(&plain), plain.clone()),
        (named, plain[..5000].to_vec()),
        (written(&[]), Vec::new()),
        (long, sample(2 << 20)),
        (vec![0; 700], Vec::new()),
    ];
    for first in 0..kinds.len() - 1 {
        for second in 0..kinds.len() {
            for third in 0..kinds.len() {
                let order = [first, second, third].map(|kind| &kinds[kind]);
                let bytes = order.map(|(bytes, _)| &bytes[..]).concat();
                let content = order.map(|(_, content)| &content[..]).concat();
                assert!(
                    expanded(&bytes, 1 << 20) == content,
                    "{first} {second} {third}"
                );
            }
        }
    }
}

/// A member whose content looks like the start of another, and two members that end alike of which only the first one's
/// start can be seen: where the first ends must not be guessed wrong.
#[test]
fn members_do_not_end_where_they_seem_to() {
    let header = &written(b"")[..10];
    let mut content = sample(1000);
    for at in [100, 300, 900] {
        content[at..at + 10].copy_from_slice(header);
    }
    // Noise is stored as it is.
    let noise: Vec<u8> = (0..4000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let noise = [&noise[..], header, &noise[2000..]].concat();
    for content in [content, noise] {
        let member = written(&content);
        assert_eq!(expanded(&member, 4096), content);
        assert_eq!(expanded(&member.repeat(3), 4096), content.repeat(3));
    }
    let folder = Folder::new();
    let path = folder.write("name", b"the same");
    let named = through("gzip", &["-c", path.as_str()], &[]);
    let plain = written(b"the same");
    let bytes = [&plain[..], &named, &plain, &named].concat();
    assert_eq!(expanded(&bytes, 4096), b"the same".repeat(4));
    assert_eq!(through("gzip", &["-dc"], &bytes), b"the same".repeat(4));
}

#[test]
fn many_short_members_take_no_longer_than_they_must() {
    let folder = Folder::new();
    let path = folder.write("name", b"x");
    let named = through("gzip", &["-c", path.as_str()], &[]);
    let plain = written(b"y");
    let bytes = [
        named.repeat(20_000),
        plain.repeat(20_000),
        [plain, named].concat().repeat(10_000),
    ]
    .concat();
    assert_eq!(expanded(&bytes, 1 << 16).len(), 60_000);
}

/// Gives a few bytes, then fails or goes on for ever; tells when it is dropped.
struct Strange {
    left: usize,
    fails: bool,
    dropped: mpsc::Sender<()>,
}

impl Read for Strange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.fails && self.left == 0 {
            return Err(io::Error::from_raw_os_error(5));
        }
        let count = if self.fails {
            buffer.len().min(self.left)
        } else {
            buffer.len()
        };
        self.left = self.left.saturating_sub(count);
        buffer[..count].fill(b'x');
        Ok(count)
    }
}

impl Drop for Strange {
    fn drop(&mut self) {
        let _ = self.dropped.send(());
    }
}

#[test]
fn reading_ahead_gives_all_before_an_error_and_the_error_itself() {
    let (dropped, _keep) = mpsc::channel();
    let strange = Strange {
        left: 1_000_000,
        fails: true,
        dropped,
    };
    let mut ahead = ReadAhead::new(decompressed(strange).unwrap()).unwrap();
    let (content, error) = all(&mut ahead, 10_000);
    assert_eq!(content.len(), 1_000_000);
    // Not taken for damage.
    assert_eq!(error.unwrap().raw_os_error(), Some(5));
    assert!(ahead.read(&mut [0; 1]).is_err());
}

#[test]
fn a_reader_thrown_away_lets_go_of_its_input() {
    let (dropped, notice) = mpsc::channel();
    let strange = Strange {
        left: 0,
        fails: false,
        dropped,
    };
    let mut ahead = ReadAhead::new(strange).unwrap();
    ahead.read_exact(&mut [0; 100]).unwrap();
    assert!(notice.try_recv().is_err());
    drop(ahead);
    notice.recv_timeout(Duration::from_secs(60)).unwrap();
}
