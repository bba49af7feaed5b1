use std::io::Write as _;
use std::process::Command;

use proptest::prelude::*;

use super::*;

fn read(text: &[u8]) -> (Vec<(String, String)>, Vec<String>) {
    let mut problems = Collector::default();
    let source = Source {
        file: "manifest".into(),
        bytes: text,
    };
    let pairs = parse(source, &mut problems);
    let pairs = pairs
        .into_iter()
        .map(|pair| (pair.key.value, pair.value.text().unwrap().to_owned()))
        .collect();
    let problems = problems.finish();
    for problem in &problems {
        let place = problem.location.as_ref().unwrap();
        assert!(
            place.span.start <= place.span.end && place.span.end <= text.len(),
            "{problem:?}"
        );
        assert!(!problem.advice.is_empty() && problem.is_error());
    }
    let problems = problems
        .iter()
        .map(|problem| {
            let place = problem.location.as_ref().unwrap();
            let meant = String::from_utf8_lossy(&text[place.span.start..place.span.end]);
            format!("{}:{} {} <{meant}>", place.line, place.column, problem.code)
        })
        .collect();
    (pairs, problems)
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let (pairs, problems) = read(text.as_bytes());
    assert_eq!(problems, [""; 0], "{text:?}");
    pairs
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn what_stands_in_published_manifests() {
    for (text, value) in [
        ("name=\"core mbox\"\n", "core mbox"),
        ("name='core mbox'", "core mbox"),
        ("name=\"x\";", "x"),
        ("name=\"x\"'y'", "xy"),
        ("name='it'\"'\"'s \"x\"'", "it's \"x\""),
        ("name=$'a\\n\\'b\\\\'", "a\n'b\\"),
        ("name=\"x\" ; ", "x"),
        ("\tname=\"x\"\t# comment", "x"),
        ("name=512", "512"),
        ("name=\"\"", ""),
        ("name=''", ""),
        ("name=", ""),
        ("name= # nothing", ""),
        ("name=;", ""),
        ("name=\"x\"\r\n", "x"),
        ("name=x\r\n", "x"),
        ("\u{feff}name=\"x\"\n", "x"),
        ("# a\n\n  # b\nname=\"x#y;z=1\"", "x#y;z=1"),
        ("name=\"it's\"", "it's"),
        ("name='$HOME `id` \\n \"x\"'", "$HOME `id` \\n \"x\""),
        ("name=https://example.com/a,b?x", "ERROR"),
        (
            "name=https://example.com:80/a,b@c%20-d^e",
            "https://example.com:80/a,b@c%20-d^e",
        ),
        ("name=a=b", "a=b"),
        ("name=\"╭─ ü\"", "╭─ ü"),
        ("name=\"a\tb\"", "a\tb"),
    ] {
        if value == "ERROR" {
            assert_eq!(read(text.as_bytes()).1, ["1:29 needs-quotes <?>"]);
            continue;
        }
        assert_eq!(pairs(text), [pair("name", value)], "{text:?}");
    }
    assert_eq!(
        pairs("a=1; b='2' c=\"3\";d=4"),
        [
            pair("a", "1"),
            pair("b", "2"),
            pair("c", "3"),
            pair("d", "4")
        ]
    );
    assert_eq!(pairs(""), []);
    assert_eq!(pairs("\n\r\n \t \n"), []);
}

#[test]
fn every_mistake_has_its_place() {
    for (text, expected) in [
        ("name=\"x\n", "1:6 unclosed-quote <\"x>"),
        ("name='x\r\n", "1:6 unclosed-quote <'x>"),
        ("name=\"x\"\"\n", "1:9 doubled-quote <\">"),
        ("name=\"x\"'y", "1:9 doubled-quote <'>"),
        ("name=$'a\\x'", "1:9 escape <\\x>"),
        ("name=$'a", "1:6 unclosed-quote <$'a>"),
        ("name=\"x\",", "1:9 trailing-comma <,>"),
        ("name=x,", "1:7 trailing-comma <,>"),
        ("name=\"x\"y", "1:9 text-after-quote <y>"),
        ("name=\"x\"#y", "1:9 text-after-quote <#>"),
        ("name=x y", "1:8 text-after-value <y>"),
        ("name=\"x\" && rm", "1:10 text-after-value <&&>"),
        ("name=x&", "1:7 needs-quotes <&>"),
        ("name=~", "1:6 needs-quotes <~>"),
        ("name=x\"y\"", "1:7 quote-inside-value <\">"),
        ("name=“x”", "1:6 needs-quotes <“>"),
        ("name=\"ü$x\"", "1:8 expansion <$>"),
        ("name=$x", "1:6 expansion <$>"),
        ("name=\"$(id)\"", "1:7 command-substitution <$>"),
        ("name=`id`", "1:6 command-substitution <`>"),
        ("name=\"a\\\"b\"", "1:8 escape <\\>"),
        ("name=a\\", "1:7 escape <\\>"),
        ("export name=x", "1:1 shell-command <export>"),
        ("name =\"x\"", "1:5 blank-before-equals < =>"),
        ("name= \"x\"", "1:6 blank-after-equals < >"),
        ("name+=x", "1:5 not-an-assignment <+>"),
        ("name: x", "1:5 not-an-assignment <:>"),
        ("name", "1:1 not-an-assignment <name>"),
        ("rm -rf /", "1:1 not-an-assignment <rm>"),
        ("=x", "1:1 missing-key <=>"),
        (";", "1:1 empty-statement <;>"),
        ("a=1;;", "1:5 empty-statement <;>"),
        ("1a=x", "1:1 bad-key <1a>"),
        ("{ a=1; }", "1:1 not-an-assignment <{>"),
        ("ü=1", "1:1 not-an-assignment <ü>"),
        ("a=\"x\u{1}\"", "1:5 control-character <\u{1}>"),
        ("a=\"x\ry\"", "1:5 control-character <\r>"),
        ("a=\"x\0\"", "1:5 control-character <\0>"),
    ] {
        let (_, problems) = read(text.as_bytes());
        assert_eq!(problems, [expected], "{text:?}");
    }
    assert_eq!(read(b"a=\"\xff\"").1, ["1:4 not-utf-8 <\u{fffd}>"]);
    // Lines after a mistake are read, and each has its own.
    let (values, problems) = read(b"a=\"1\nb=2\n\nname=\"x\"\"\n  c=$d\ne=5");
    assert_eq!(values, [pair("b", "2"), pair("name", "x"), pair("e", "5")]);
    assert_eq!(
        problems,
        [
            "1:3 unclosed-quote <\"1>",
            "4:9 doubled-quote <\">",
            "5:5 expansion <$>"
        ]
    );
}

#[test]
fn a_megabyte_of_mistakes_stays_small() {
    let (_, problems) = {
        let mut collector = Collector::default();
        let text = b"x\n".repeat(500_000);
        let pairs = parse(
            Source {
                file: "manifest".into(),
                bytes: &text,
            },
            &mut collector,
        );
        (pairs, collector.finish())
    };
    assert_eq!(problems.len(), 51);
    assert!(problems[50].message.starts_with("499950 more"));
    let long = [b"name=\"".to_vec(), vec![b'x'; 1 << 20]].concat();
    let mut collector = Collector::default();
    parse(
        Source {
            file: "manifest".into(),
            bytes: &long,
        },
        &mut collector,
    );
    assert_eq!(
        collector.finish()[0]
            .location
            .as_ref()
            .unwrap()
            .text
            .chars()
            .count(),
        400
    );
}

/// What a shell makes of a manifest: the values of `keys`, each followed by a NUL.
fn shell(text: &str, keys: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest");
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let printed: Vec<String> = keys
        .iter()
        .map(|key| format!("printf '%s\\0' \"${key}\""))
        .collect();
    let printed = printed.join("; ");
    let output = Command::new("sh")
        .args(["-c", &format!(". \"$0\" && {printed}")])
        .arg(&path)
        .env_clear()
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{text:?}: {output:?}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// A line that is a valid assignment to one of a few keys.
fn assignment() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["k0", "k1", "k2", "k3", "K_4"]);
    let value = prop_oneof![
        "\"[ a-zA-Z0-9#;'=~*?<>|&(){}!,._/:äß\t-]{0,20}\"",
        "'[ a-zA-Z0-9#;\"$`\\\\=~*?<>|&(){}!,._/:äß\t-]{0,20}'",
        "([a-zA-Z0-9_./:+@%,=^-]{0,12}[a-zA-Z0-9_./:+@%=^-])?",
    ];
    let end = prop::sample::select(vec!["", ";", " ", "\t;", " # c \"x", ";# c", " ; "]);
    (prop::sample::select(vec!["", " ", "\t"]), key, value, end)
        .prop_map(|(start, key, value, end)| format!("{start}{key}={value}{end}"))
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => assignment(),
        1 => (assignment(), assignment()).prop_map(|(one, other)| format!("k0=1 k1='2';{}\n{}", one.trim_start(), other)),
        1 => "[ \t]{0,3}",
        1 => "[ \t]{0,2}#[ a-z\"'$`;]{0,10}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_shell_reads_the_same(lines in prop::collection::vec(line(), 0..12), last in "\n?") {
        let text = lines.join("\n") + &last;
        let keys = ["k0", "k1", "k2", "k3", "K_4"];
        let ours = pairs(&text);
        let ours: Vec<String> = keys
            .iter()
            .map(|key| ours.iter().rfind(|(other, _)| other == key).map(|pair| pair.1.clone()).unwrap_or_default())
            .collect();
        prop_assert_eq!(ours, shell(&text, &keys), "{:?}", text);
    }

    #[test]
    fn no_bytes_upset_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes);
    }

    #[test]
    fn no_near_miss_upsets_it(text in "([a-c =\"'$`\\\\;#,\n\r\tüé“\u{0}-]{0,6}(name=)?){0,12}") {
        read(text.as_bytes());
    }
}
