//! Headers that say what is not so: lengths, pax records, maps of sparse files.

use crate::forge::{Forge, header, number, put, set_size};
use crate::hostile::Expect::{Ok, Refused};
use crate::hostile::check;
use crate::listing;
use crate::world::{Case, World};

pub const CASES: &[Case] = &[
    ("lengths that lie", lengths),
    ("pax records that lie", records),
    ("sparse maps that lie", maps),
];

fn lengths() {
    let mut world = World::new();
    for size in [1 << 20, 1 << 40, 1 << 61, 1 << 62, u64::MAX >> 1, u64::MAX] {
        for kind in *b"0LKxgV7S" {
            let mut header = header(kind, b"huge", 0);
            put(&mut header, 257, b"ustar  \0");
            put(&mut header, 386, &[0; 97]);
            put(&mut header, 483, &number(100));
            set_size(&mut header, size);
            let archive = Forge::default().header(header).data(b"little").end();
            let outcome = world.unpack_bytes(&archive);
            assert_ne!(outcome.kind, "ok", "{kind} {size}");
            assert!(outcome.text.contains("byte "), "{}", outcome.text);
            assert!(outcome.memory < 64 << 20);
        }
    }
    for size in [
        &b"-1\0"[..],
        b"9\0",
        b"abc\0",
        b"0x10\0",
        b"77777777777777",
        b"1 2\0",
    ] {
        let mut header = header(b'0', b"odd", 0);
        header[124..136].fill(0);
        let length = size.len().min(12);
        put(&mut header, 124, &size[..length]);
        let archive = Forge::default().header(header).end();
        let outcome = world.unpack_bytes(&archive);
        assert_eq!(outcome.kind, "damaged", "{size:?}: {}", outcome.text);
    }
    // Size fields of what has no content.
    for kind in *b"12346" {
        let mut header = header(kind, b"thing", 0);
        set_size(&mut header, 1 << 40);
        put(&mut header, 157, b"target");
        let archive = Forge::default().file("target", b"").header(header).end();
        let outcome = world.unpack_bytes(&archive);
        if listing::privileged() || !matches!(kind, b'3' | b'4') {
            assert_eq!(outcome.kind, "ok", "{kind}: {}", outcome.text);
        }
    }
    let outcome = world.unpack_bytes(&Forge::default().member(b'Z', b"odd", b"").end());
    assert!(outcome.text.contains("unknown type"), "{}", outcome.text);
    let mut forge = Forge::default().file("a", b"").file("b", b"");
    forge.bytes[512 + 3] = b'x';
    let outcome = world.unpack_bytes(&forge.end());
    assert!(
        outcome
            .text
            .contains("byte 512: a header has a wrong checksum"),
        "{}",
        outcome.text
    );
    let outcome = world.unpack_bytes(&b"<html>404</html>".repeat(100));
    assert!(
        outcome.text.contains("not a tar archive"),
        "{}",
        outcome.text
    );
}

fn records() {
    let mut world = World::new();
    for data in [
        &b"path=x\n"[..],
        b"0 path=x\n",
        b"3 path=x\n",
        b"8 path=x\n",
        b"11 path=x\n",
        b"1000 path=x\n",
        b"99999999999999999999 path=x\n",
        b"-10 path=x\n",
        b"10 pathx=\n\n",
        b"8 pathx\n",
        b"1\n",
        b"1",
        b"   ",
        b"13 size=abc\n\n",
        b"11 size=-1\n",
        b"28 size=9999999999999999999\n",
        b"10 uid=-1\n",
        b"18 uid=4294967296\n",
        b"13 mtime=1.x\n",
        b"10 mtime=\xff\n",
        b"24 GNU.sparse.map=1,2,3\n",
        b"24 GNU.sparse.numbytes=1\n",
    ] {
        let archive = Forge::default()
            .member(b'x', b"x", data)
            .file("f", b"")
            .end();
        let what = String::from_utf8_lossy(data);
        // Extended headers can say that a time is not known, which is no harm.
        check(
            &mut world,
            &what,
            &archive,
            &Refused("damaged", &["byte 0", "a pax header"]),
        );
    }
    // A value of no length takes back what was said before.
    let archive = Forge::default()
        .pax(&[
            ("path", b"never"),
            ("path", b""),
            ("uid", b""),
            ("mtime", b""),
            ("size", b""),
        ])
        .file("f", b"abc")
        .end();
    check(
        &mut world,
        "values taken back",
        &archive,
        &Ok(&["\"f\" File"]),
    );
    // The later record counts, also that of a later header; a global one ends with the next.
    let archive = Forge::default()
        .member(b'g', b"g", &crate::forge::record("path", b"global"))
        .file("f", b"")
        .member(b'g', b"g", &crate::forge::record("path", b""))
        .pax(&[("path", b"one"), ("path", b"two")])
        .file("g", b"")
        .file("h", b"")
        .end();
    check(
        &mut world,
        "global",
        &archive,
        &Ok(&["\"global\" File", "\"h\" File", "\"two\" File"]),
    );
    // What is announced for a member is not lost by a global header in between.
    let archive = Forge::default()
        .member(b'L', b"L", b"long name\0")
        .member(b'g', b"g", &crate::forge::record("comment", b"x"))
        .file("f", b"")
        .end();
    check(
        &mut world,
        "a global header in between",
        &archive,
        &Ok(&["\"long name\" File"]),
    );
    let archive = Forge::default()
        .pax(&[("mtime", b"-99999999999999999"), ("x.y", b"")])
        .file("f", b"")
        .end();
    let outcome = world.unpack_bytes(&archive);
    assert!(
        matches!(&*outcome.kind, "ok" | "member"),
        "{}",
        outcome.text
    );
}

fn maps() {
    let mut world = World::new();
    let sparse = |map: &[u8], size: &[u8]| {
        Forge::default()
            .pax(&[
                ("GNU.sparse.size", size),
                ("GNU.sparse.map", map),
                ("GNU.sparse.name", b"f"),
            ])
            .file("x", b"0123456789")
            .end()
    };
    for (map, size, word) in [
        (&b"0,5,3,5"[..], &b"100"[..], "goes backwards"),
        (b"50,5,10,5", b"100", "goes backwards"),
        (b"98,5", b"100", "leaves the file"),
        (b"18446744073709551615,5", b"100", "leaves the file"),
        (
            b"18446744073709551615,1",
            b"18446744073709551615",
            "leaves the file",
        ),
        (b"0,11", b"100", "more data than is stored"),
    ] {
        check(
            &mut world,
            word,
            &sparse(map, size),
            &Refused("member", &["\"f\"", word]),
        );
    }
    let map = "0,0,".repeat(70_000);
    check(
        &mut world,
        "many pieces",
        &sparse(map.trim_end_matches(',').as_bytes(), b"9"),
        &Refused("damaged", &["pax"]),
    );
    for size in [&b"9223372036854775808"[..], b"18446744073709551615"] {
        check(
            &mut world,
            "too large",
            &sparse(b"0,1", size),
            &Refused("member", &["\"f\""]),
        );
    }
    // Version 1.0 has its map in front of the data.
    let records: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"f"),
        ("GNU.sparse.realsize", b"1000"),
    ];
    let inside = |data: &[u8]| {
        Forge::default()
            .pax(records)
            .file("x", data)
            .file("next", b"n")
            .end()
    };
    let block = |text: &str| {
        let mut block = text.as_bytes().to_vec();
        block.resize(512, 0);
        block
    };
    check(
        &mut world,
        "good",
        &inside(&[block("1\n990\n10\n"), b"0123456789".to_vec()].concat()),
        &Ok(&["\"f\" File", "\"next\" File"]),
    );
    for (what, data, kind) in [
        ("no block", b"1\n0\n1\n".to_vec(), "member"),
        ("nothing", Vec::new(), "member"),
        ("a count that goes on", block(&"9".repeat(512)), "member"),
        (
            "a map longer than its data",
            block("40\n0\n1\n2\n"),
            "member",
        ),
        ("a huge count", block("99999999\n"), "member"),
        ("letters", block("one\n"), "member"),
        ("zeroes without an end", vec![b'0'; 1024], "member"),
        ("less data than it says", block("1\n0\n10\n"), "member"),
    ] {
        check(&mut world, what, &inside(&data), &Refused(kind, &["\"f\""]));
    }
    // GNU's old format: real size, overlapping pieces, blocks of map that never end.
    let old = |pieces: &[(u64, u64)], real: u64, extended: bool| {
        let mut header = header(b'S', b"f", 10);
        header[257..].fill(0);
        put(&mut header, 257, b"ustar  \0");
        for (index, (offset, length)) in pieces.iter().enumerate() {
            put(&mut header, 386 + index * 24, &number(*offset));
            put(&mut header, 398 + index * 24, &number(*length));
        }
        header[482] = u8::from(extended);
        put(&mut header, 483, &number(real));
        Forge::default().header(header)
    };
    check(
        &mut world,
        "old",
        &old(&[(90, 10)], 100, false).data(b"0123456789").end(),
        &Ok(&["\"f\" File"]),
    );
    for pieces in [
        &[(0, 8), (4, 2)][..],
        &[(u64::MAX, 5)],
        &[(95, 10)],
        &[(0, 11)],
    ] {
        let archive = old(pieces, 100, false).data(b"0123456789").end();
        check(
            &mut world,
            "old",
            &archive,
            &Refused("member", &["\"f\"", "sparse map"]),
        );
    }
    let mut endless = old(&[(0, 1)], 100, true);
    for _ in 0..20_000 {
        let mut block = [0; 512];
        for entry in 0..21 {
            put(&mut block, entry * 24, &number(1));
            put(&mut block, entry * 24 + 12, &number(0));
        }
        block[504] = 1;
        endless.bytes.extend_from_slice(&block);
    }
    check(
        &mut world,
        "endless",
        &endless.end(),
        &Refused("member", &["too many pieces"]),
    );
}
