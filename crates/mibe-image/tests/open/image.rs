//! One image: its two files, its stream, its header, its measure.

use std::fs;
use std::io::{Cursor, Read as _};
use std::process::Command;

use camino::Utf8Path;
use mibe_image::Error;
use mibe_image::file::Packing;
use mibe_image::manifest::FileCompression;
use mibe_image::open::{HeaderError, Image, Libraries, ObjsetKind, StreamHeader};

use crate::support::{
    COMPRESSORS, Folder, all, change, compressed, labelled, manifest, stream, through,
};

fn content(image: &Image) -> Vec<u8> {
    let (content, error) = all(image.stream().unwrap(), 100_000);
    assert!(error.is_none(), "{error:?}");
    content
}

#[test]
fn either_file_leads_to_the_other() {
    let stream = stream(7);
    for (program, options, extension) in COMPRESSORS {
        for end in ["json", "imgmanifest"] {
            let folder = Folder::new();
            let bytes = compressed(program, options, &stream);
            let file = folder.write(&format!("a-1.0.{extension}"), &bytes);
            assert!(Image::at(&file).unwrap().manifest().is_none());
            let text = folder.manifest(&format!("a-1.0.{end}"), &manifest(1, "a", "1.0"));
            for path in [&file, &text] {
                let image = Image::at(path).unwrap();
                assert_eq!(image.path(), Some(file.as_path()));
                assert_eq!(image.manifest_path(), Some(text.as_path()));
                assert_eq!(image.manifest().unwrap().name, "a");
                assert_eq!(image.stream().unwrap().packing().extension(), *extension);
                assert!(content(&image) == stream);
                assert_eq!(image.header().unwrap().to_guid, 7);
                assert_eq!(image.to_string(), format!("a@1.0 ({file})"));
            }
        }
    }
}

#[test]
fn manifests_are_known_by_content_too() {
    let folder = Folder::new();
    let text = folder.manifest("a-1.0", &manifest(1, "a", "1.0"));
    let error = Image::at(&text).unwrap_err();
    assert!(matches!(error, Error::NoFile { .. }), "{error}");
    assert!(error.hints()[0].contains(".zfs.gz"));
    let file = folder.write("a-1.0.zfs", &stream(7));
    assert_eq!(Image::at(&text).unwrap().path(), Some(file.as_path()));
    // What has any name is a stream, alone.
    let other = folder.write("stream", &stream(8));
    let image = Image::at(&other).unwrap();
    assert!(image.manifest().is_none());
    assert_eq!(image.header().unwrap().to_guid, 8);
}

#[test]
fn of_several_streams_the_one_of_the_right_size_is_meant() {
    let folder = Folder::new();
    folder.write("a.zfs", &[0; 500]);
    let file = folder.write("a.zfs.xz", &[0; 400]);
    let mut manifest = labelled(1, FileCompression::Xz, None);
    let text = folder.manifest("a.json", &manifest);
    match Image::at(&text).unwrap_err() {
        Error::Ambiguous { candidates, .. } => assert_eq!(candidates.len(), 2),
        error => panic!("{error}"),
    }
    manifest.files.as_mut().unwrap()[0].size = 400;
    folder.manifest("a.json", &manifest);
    assert_eq!(Image::at(&text).unwrap().path(), Some(file.as_path()));
}

#[test]
fn what_is_no_image_is_said() {
    let folder = Folder::new();
    let missing = folder.path().join("missing.json");
    let error = Image::at(&missing).unwrap_err();
    assert!(error.to_string().contains("missing.json"), "{error}");
    assert!(matches!(Image::at(folder.path()), Err(Error::Io { .. })));
    let text = folder.write("a.json", b"{\n  \"v\": 2,\n  \"nonsense\": 1\n}");
    match Image::at(&text).unwrap_err() {
        Error::Json { path, line, .. } => assert_eq!((path, line), (text.clone(), 3)),
        error => panic!("{error}"),
    }
    // A bad manifest is not passed over because the stream was named.
    let file = folder.write("a.zfs", &stream(1));
    assert!(matches!(Image::at(&file), Err(Error::Json { .. })));
    let libraries = Libraries::new([folder.path().to_owned()]);
    let argument = folder.path().join("other.zfs");
    let error = Image::open(argument.as_str(), &libraries).unwrap_err();
    assert!(matches!(error, Error::NoImage { .. }), "{error}");
}

#[test]
fn the_file_is_measured_on_the_way() {
    let stream = stream(7);
    for (program, options, extension) in COMPRESSORS {
        let folder = Folder::new();
        let bytes = compressed(program, options, &stream);
        let file = folder.write(&format!("a.{extension}"), &bytes);
        let (mut reader, measure) = Image::at(&file).unwrap().measured_stream().unwrap();
        reader.read_exact(&mut [0; 100]).unwrap();
        assert!(all(&mut reader, 65_536).1.is_none());
        let measured = measure.get().unwrap();
        let sum = String::from_utf8(through("sha1sum", &[], &bytes)).unwrap();
        assert!(sum.starts_with(&measured.sha1), "{program}");
        assert_eq!(measured.size, bytes.len() as u64);
    }
}

#[test]
fn what_was_not_read_is_not_measured() {
    let folder = Folder::new();
    let bytes = through("gzip", &["-c"], &stream(7));
    let file = folder.write("a.zfs.gz", &bytes[..bytes.len() - 1]);
    let image = Image::at(&file).unwrap();
    let (reader, measure) = image.measured_stream().unwrap();
    let (_, error) = all(reader, 65_536);
    let error = error.unwrap().to_string();
    assert!(error.contains("the gzip data are damaged"), "{error}");
    // All of the damaged file was read, so its digest is known.
    let sum = String::from_utf8(through("sha1sum", &[], &bytes[..bytes.len() - 1])).unwrap();
    assert!(sum.starts_with(&measure.get().unwrap().sha1));
    // Where the rest is not read, nothing is known of it.
    let mut bytes = through("gzip", &["-c"], &stream(7));
    bytes.extend(vec![1; 10_000_000]);
    let file = folder.write("b.zfs.gz", &bytes);
    let (reader, measure) = Image::at(&file).unwrap().measured_stream().unwrap();
    assert!(all(reader, 65_536).1.is_some());
    assert_eq!(measure.get(), None);
}

#[test]
fn a_wrong_label_can_be_seen() {
    let folder = Folder::new();
    for (label, right) in [(FileCompression::Gzip, false), (FileCompression::Xz, true)] {
        folder.write("a.zfs.gz", &through("xz", &["-0c"], &stream(7)));
        let text = folder.manifest("a.json", &labelled(1, label, None));
        let image = Image::at(&text).unwrap();
        let packing = image.stream().unwrap().packing();
        assert_eq!(packing, Packing::Xz);
        let told = &image.manifest().unwrap().files.as_ref().unwrap()[0];
        assert_eq!(packing.label() == Some(told.compression), right);
    }
}

#[test]
fn what_can_be_read_once_is_looked_into_first() {
    let stream = stream(7);
    for (program, options, _) in COMPRESSORS {
        let bytes = compressed(program, options, &stream);
        let image = Image::from_reader("a pipe", Cursor::new(bytes.clone()));
        assert_eq!(image.header().unwrap().to_guid, 7);
        let (reader, measure) = image.clone().measured_stream().unwrap();
        assert!(all(reader, 10_000).0 == stream, "{program}");
        assert_eq!(measure.get().unwrap().size, bytes.len() as u64);
        let error = image.stream().unwrap_err();
        assert_eq!(error.to_string(), "a pipe can be read once only");
        // Known by now.
        assert_eq!(image.header().unwrap().to_guid, 7);
        let image = Image::from_reader("a pipe", Cursor::new(bytes));
        drop(image.stream().unwrap());
        assert!(matches!(image.header(), Err(Error::ReadTwice { .. })));
    }
}

#[test]
fn a_pipe_has_a_path_and_is_read_once() {
    let folder = Folder::new();
    let path = folder.path().join("a.zfs.gz");
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let stream = stream(7);
    let bytes = through("gzip", &["-c"], &stream);
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&path, &bytes).unwrap());
        let image = Image::at(&path).unwrap();
        assert_eq!((image.path(), image.header().unwrap().to_guid), (None, 7));
        assert!(content(&image) == stream);
        assert!(image.stream().unwrap_err().to_string().contains("a.zfs.gz"));
    });
}

#[test]
fn headers_tell_what_the_writer_was_told() {
    let header = StreamHeader::read(&change(7, 9)[..]).unwrap();
    let expected = StreamHeader {
        to_guid: 7,
        from_guid: 9,
        kind: ObjsetKind::Filesystem,
        to_name: "zones/7@final".to_owned(),
        creation_time: 1_600_000_000,
        features: 4,
        flags: header.flags,
        compound: false,
        big_endian: false,
    };
    assert_eq!(header, expected);
    // The same from a big-endian sender.
    let mut swapped = change(7, 9);
    for (from, to) in [
        (0, 4),
        (4, 8),
        (8, 16),
        (16, 24),
        (24, 32),
        (32, 36),
        (36, 40),
        (40, 48),
        (48, 56),
    ] {
        swapped[from..to].reverse();
    }
    let expected = StreamHeader {
        big_endian: true,
        ..expected
    };
    assert_eq!(StreamHeader::read(&swapped[..]).unwrap(), expected);
    // A volume; something else; a name without an end.
    for (number, kind) in [(3, ObjsetKind::Volume), (9, ObjsetKind::Other(9))] {
        let mut stream = change(7, 9);
        stream[32] = number;
        stream[56..312].fill(b'n');
        let header = StreamHeader::read(&stream[..]).unwrap();
        assert_eq!((header.kind, header.to_name.len()), (kind, 256));
    }
}

/// What `zfs send -p` puts around a stream.
fn compound(properties: &[u8], inner: &[u8]) -> Vec<u8> {
    let mut begin = stream(1)[..312].to_vec();
    begin[4..8].copy_from_slice(&(properties.len() as u32).to_le_bytes());
    begin[16] = begin[16] & !3 | 2;
    begin[40..48].fill(0);
    let mut end = vec![0; 312];
    end[0] = 5;
    [&begin, properties, &end, inner].concat()
}

#[test]
fn the_header_of_a_compound_stream_is_that_of_the_first_in_it() {
    for size in [0, 1000, 300_000] {
        let header = StreamHeader::read(&compound(&vec![1; size], &change(7, 9))[..]).unwrap();
        assert!(header.compound);
        assert_eq!((header.to_guid, header.from_guid), (7, 9));
    }
}

#[test]
fn what_is_no_stream_is_told_with_its_place() {
    let whole = stream(7);
    let with = |at: usize, bytes: &[u8]| {
        let mut stream = whole[..400].to_vec();
        stream[at..at + bytes.len()].copy_from_slice(bytes);
        stream
    };
    let nested = compound(&[1; 100], &compound(&[], &whole));
    let no_end = [&compound(&[1; 100], &[])[..412], &whole].concat();
    let cases: [(&[u8], u64, &str); 12] = [
        (b"", 0, "empty"),
        (b"{}", 0, "ends after 2"),
        (&whole[..311], 0, "ends after 311"),
        (&[b'x'; 1000], 0, "no BEGIN"),
        (&with(0, &[5]), 0, "no BEGIN"),
        (&with(16, &[0]), 0, "stream type 0"),
        (&with(40, &[0; 8]), 0, "guid"),
        (
            &compound(&[1; 100], &[])[..350],
            350,
            "within its properties",
        ),
        (&compound(&[1; 100], &[])[..500], 412, "ends after 500"),
        (&no_end, 412, "in place of END"),
        (&nested, 724, "within a compound"),
        (
            &compound(&[], &compound(&[], &[])[312..]),
            624,
            "no stream in it",
        ),
    ];
    for (bytes, place, words) in cases {
        match StreamHeader::read(bytes).unwrap_err() {
            HeaderError::Damaged { offset, reason } => {
                assert!(reason.contains(words), "{words}: {reason}");
                assert_eq!(offset, place, "{reason}");
            }
            HeaderError::Read(error) => panic!("{error}"),
        }
    }
    let mut endless = compound(&[], &whole);
    endless[4..8].fill(0xff);
    let error = StreamHeader::read(&endless[..]).unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
    let folder = Folder::new();
    let file = folder.write("a.zfs", b"hello");
    let error = Image::at(&file).unwrap().header().unwrap_err().to_string();
    assert!(error.starts_with(Utf8Path::as_str(&file)), "{error}");
    let file = folder.write("b.zfs.gz", &through("gzip", &["-c"], &whole)[..100]);
    let error = Image::at(&file).unwrap().header().unwrap_err();
    assert!(matches!(error, Error::Decompress { .. }), "{error:?}");
}
