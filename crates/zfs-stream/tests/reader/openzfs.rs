//! Streams that real OpenZFS sends, compressed, embedded, with large blocks, incremental, after edits of every kind: what is read of
//! them is what OpenZFS itself lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};
use zfs_stream::read::{Filesystem, NoContents, Snapshot};
use zfs_stream::{Kind, flatten};

use crate::support::{contents, escape, hex, sample, type_letter};

fn tool(name: &str) -> std::path::PathBuf {
    let Some(directory) = std::env::var_os("MIBE_ORACLE") else {
        panic!(
            "MIBE_ORACLE is not set: run `cargo xtask test`, which builds the oracle and sets it"
        );
    };
    Path::new(&directory).join(name)
}

/// A file of a listing: all columns but extended attributes, and those by name, as digests.
type Line = (String, BTreeMap<String, String>);

/// What zsend or zrecv printed of the last file system.
fn parse(text: &str) -> BTreeMap<String, Line> {
    let mut files: BTreeMap<String, Line> = BTreeMap::new();
    for line in text.lines() {
        if line.starts_with("filesystem ") {
            files.clear();
        }
        let columns: Vec<&str> = line.split(' ').collect();
        let (Some(kind), Some(path)) = (columns.first(), columns.get(1)) else {
            continue;
        };
        if let ("Xf", Some((owner, name))) = (*kind, path.split_once("<xattr>/")) {
            let digest = columns
                .iter()
                .find_map(|column| column.strip_prefix("sha256="));
            let xattrs = &mut files.get_mut(owner).expect("its owner first").1;
            xattrs.insert(name.to_owned(), digest.expect("a digest").to_owned());
        } else if matches!(*kind, "f" | "d" | "l" | "c" | "b" | "p" | "s") {
            let (line, inner) = line.split_once(" saxattr=").unwrap_or((line, ""));
            let inner = inner.split(';').filter_map(|pair| pair.rsplit_once(':'));
            let xattrs = inner
                .map(|(name, value)| (name.to_owned(), sha256(&unhex(value))))
                .collect();
            files.insert((*path).to_owned(), (line.to_owned(), xattrs));
        }
    }
    files
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn sha256(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

/// The same of what our reader makes of a chain.
fn listing(streams: &[&[u8]]) -> BTreeMap<String, Line> {
    let mut snapshot = Snapshot::open(streams.iter().copied()).unwrap();
    let files =
        Filesystem::read(&mut snapshot, &mut NoContents).unwrap_or_else(|error| panic!("{error}"));
    let digests = contents(streams.to_vec(), &files).unwrap_or_else(|error| panic!("{error}"));
    let mut lines = BTreeMap::new();
    files
        .walk::<()>(b"", &mut |path, node| {
            let path = format!("/{}", escape(path));
            let mut line = format!(
                "{} {path} mode={:04o} uid={} gid={} nlink={} size={} mtime={}.{:09}",
                type_letter(node),
                node.mode,
                node.uid,
                node.gid,
                node.links,
                node.size,
                node.mtime.cast_unsigned(),
                node.mtime_nanoseconds
            );
            match node.kind {
                Kind::File => write!(line, " sha256={}", digests[&node.object]).unwrap(),
                Kind::Symlink => write!(line, " target={}", escape(node.target())).unwrap(),
                Kind::CharDevice | Kind::BlockDevice => {
                    write!(line, " rdev={:x}", node.rdev()).unwrap();
                }
                _ => {}
            }
            let xattrs = files.xattrs(node);
            let xattrs = xattrs
                .iter()
                .map(|xattr| (escape(xattr.name), sha256(xattr.value.unwrap())));
            lines.insert(path, (line, xattrs.collect()));
            Ok(())
        })
        .unwrap();
    lines
}

fn same(found: &BTreeMap<String, Line>, expected: &BTreeMap<String, Line>, what: &str) {
    assert!(
        expected.len() > 5,
        "{what}: the listing is too short to be true"
    );
    for (path, line) in expected {
        assert_eq!(found.get(path), Some(line), "{what}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// Has OpenZFS receive samples and send the last of them with these options, edited first if there are edits; then reads
/// that, as a change to the sample before or (if it is full) by itself.
fn check(samples: &[&str], options: &str, edits: &str) {
    let what = format!("{samples:?} {options} {edits}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = Command::new(tool("zsend"));
    command.args(options.split(' ').filter(|option| !option.is_empty()));
    if !edits.is_empty() {
        let path = folder.path().join("edits");
        std::fs::write(&path, edits).unwrap();
        command.arg("-E").arg(path);
    }
    command.arg(&out);
    let mut streams = Vec::new();
    for name in samples {
        let path = folder.path().join(name);
        let stream = sample(&format!("{name}.zfs"));
        std::fs::write(&path, &stream).unwrap();
        command.arg(path);
        streams.push(stream);
    }
    let output = command.output().expect("zsend can't be run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{what}: {text}");
    let expected = parse(&text);
    let sent = std::fs::read(&out).unwrap();
    if !options.split(' ').any(|option| option.contains('i')) {
        streams.clear();
    } else if edits.is_empty() {
        streams.pop();
    }
    streams.push(sent);
    let chain: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
    same(&listing(&chain), &expected, &what);

    // What is flattened of it holds the same, for us and for OpenZFS without any of its newer features.
    let mut flat = Vec::new();
    match flatten(Snapshot::open(chain).unwrap(), &mut flat, &mut |_| {}) {
        Ok(_) => {}
        // There are large dnodes in some, which older systems can't take.
        Err(error) if error.to_string().contains("large dnode") => return,
        Err(error) => panic!("{what}: {error}"),
    }
    same(&listing(&[&flat]), &expected, &what);
    let path = folder.path().join("flat");
    std::fs::write(&path, &flat).unwrap();
    let output = Command::new(tool("zrecv")).arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{what}: {text}");
    same(&parse(&text), &expected, &what);
}

#[test]
fn compressed_and_embedded() {
    for compression in ["lz4", "zstd", "zstd-19", "lzjb", "gzip-9", "zle"] {
        check(&["v5-full"], &format!("-c -e -L -z {compression}"), "");
    }
    check(&["v5r4k-full", "v5r4k-incr"], "-c -e -z lz4", "");
    check(&["v3-full"], "-c -e -z zstd", "");
}

#[test]
fn large_blocks() {
    check(&["m1-L-full"], "-L", "");
    check(&["m1-L-full"], "-L -c -z zstd", "");
    check(&["m1-L-full"], "", "");
}

#[test]
fn changes() {
    check(&["v5-full", "v5-incr"], "-i", "");
    check(&["v5-full", "v5-incr"], "-i -c -e -z lz4", "");
    check(&["v5r4k-full", "v5r4k-incr"], "-i", "");
    check(&["v5xd-full", "v5xd-incr"], "-i", "");
    check(&["v3-full", "v3-incr"], "-i", "");
}

const EDITS: &str = "\
write /etc/motd 100 300 1
fill /etc/motd 200000 70000 0
write /etc/motd 400000 1000 2
free /etc/motd 200000 50000
truncate /etc/motd 390000
create /etc new-file 0100644
write /etc/new-file 0 1000000 3
free /etc/new-file 131072 262144
create /etc new-dir 040755
bigzap /etc/new-dir 5000
unlinkall /etc/new-dir entry-1
symlink /etc new-link somewhere
link /usr another /etc/new-file
saxattr /etc/new-file user.inner 100 4
saxattr /etc/new-dir user.large 900 5
bigzap /big 4000 more
";

#[test]
fn changes_of_every_kind() {
    for options in ["-i", "-i -p", "", "-i -c -e -L -z zstd"] {
        check(&["v5-full"], options, EDITS);
        check(&["v5r4k-full", "v5r4k-incr"], options, EDITS);
    }
    // Old znodes beside new attributes.
    let upgraded = format!("version 5\ncreate / fresh 0100644\nwrite /fresh 0 5000 9\n{EDITS}");
    check(&["v3-full"], "-i", &upgraded);
    check(&["v3-full"], "", &upgraded);
}

#[test]
fn large_dnodes_and_numbers_used_again() {
    let edits =
        "create / large 0100644 2048\nsaxattr /large user.long 1200 1\nwrite /large 0 9000 2\n";
    check(&["v5-full"], "-i -L -e", edits);
    check(&["v5-full"], "", edits);
}

/// Versions 3 and 4 have the same znodes; 4 tells owners of other domains.
#[test]
fn version_4() {
    check(&["v3-full"], "", "version 4\nwrite /etc/motd 50 70000 1\n");
    check(&["v3-full"], "-i", "version 4\n");
}

/// More leaves than the first block of a ZAP has pointers for: the table is in blocks of its own.
#[test]
fn directories_with_a_table_of_their_own() {
    check(
        &["v5xd-full"],
        "",
        "create / huge 040755\nbigzap /huge 150000 some-file-of-many-with-a-long-name-so-that-leaves-hold-few-of-them\n",
    );
}
