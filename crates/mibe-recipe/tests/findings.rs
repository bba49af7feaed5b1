//! Every kind of finding, each from a repository that has it, and its text.
//!
//! `INSTA_UPDATE=always cargo test -p mibe-recipe --test findings` writes the texts anew, for a look at the difference.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use camino::Utf8Path;
use mibe_recipe::{Code, check};

/// Kinds that no repository of this file shows, and where their tests are.
const ELSEWHERE: [(Code, &str); 5] = [
    (Code::Internal, "nothing leads to it"),
    (Code::Unreadable, "repository.rs, as a user who is not root"),
    (
        Code::TooManyEntries,
        "copy.rs, with a bound that is no million",
    ),
    (Code::UnknownSetting, "mibe-home's settings"),
    (Code::BadSetting, "mibe-home's settings"),
];

struct Repository(tempfile::TempDir);

impl Repository {
    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> &Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        self.mode(name, 0o644)
    }

    fn mode(&self, name: &str, mode: u32) -> &Self {
        fs::set_permissions(self.0.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn remove(&self, name: &str) -> &Self {
        fs::remove_file(self.0.path().join(name)).unwrap();
        self
    }

    fn link(&self, name: &str, target: &str) -> &Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    fn manifest(&self, lines: &str) -> &Self {
        self.file(
            "manifest",
            format!("name=\"x\"\nversion=\"1.0\"\nbase=\"minimal-64-lts-21.4.0\"\n{lines}"),
        )
    }

    fn json(&self, entries: &str) -> &Self {
        self.remove("manifest").file(
            "manifest.json",
            format!("{{\n  \"name\": \"x\",\n  \"version\": \"1.0\",\n  \"base\": \"debian-12\"{entries}\n}}\n"),
        )
    }
}

/// A repository that nothing is wrong with.
fn good() -> Repository {
    let repository = Repository(tempfile::tempdir().unwrap());
    repository
        .manifest("")
        .file("packages", "htop\n")
        .file("customize", "#!/usr/bin/bash\nset -o errexit\n")
        .mode("customize", 0o755)
        .file("motd", "%name% %version%\n");
    fs::create_dir(repository.0.path().join("copy")).unwrap();
    repository
}

fn found(directory: &Utf8Path, hidden: &Path) -> (String, BTreeSet<Code>) {
    let checked = check(directory);
    let mut text = String::new();
    let mut codes = BTreeSet::new();
    for finding in &checked.findings {
        codes.insert(finding.code);
        assert_eq!(finding.severity, finding.code.severity());
        if let Some(place) = &finding.location {
            assert!(
                place.line > 0 && place.column > 0 && place.span.start <= place.span.end,
                "{finding:?}"
            );
        }
        let line = format!("{finding} [{}]\n    {}\n", finding.code, finding.advice);
        text.push_str(&line.replace(hidden.to_str().unwrap(), "REPO"));
    }
    assert_eq!(checked.recipe.is_some(), !checked.has_errors(), "{text}");
    (text, codes)
}

type Fixture = (&'static str, fn(&Repository));

#[rustfmt::skip]
const FIXTURES: &[Fixture] = &[
    ("nothing", |_| {}),
    // The repository.
    ("another tool's", |r| { r.remove("manifest").remove("packages").remove("customize").remove("motd").file("create-image", "").file("ks.cfg", ""); fs::remove_dir(r.0.path().join("copy")).unwrap(); }),
    ("nothing of a repository", |r| { r.remove("manifest").remove("packages").remove("customize").remove("motd"); fs::remove_dir(r.0.path().join("copy")).unwrap(); }),
    ("no manifest", |r| { r.remove("manifest"); }),
    ("a payload alone", |r| { r.remove("manifest").file("manifest.json", r#"{"brand": "joyent", "image_uuid": "x", "nics": []}"#); }),
    ("a payload beside", |r| { r.file("manifest.json", r#"{"alias": "x", "nics": []}"#); }),
    ("a link out", |r| { r.remove("motd").link("motd", "/etc/passwd"); }),
    ("a folder for a file", |r| { r.remove("motd"); fs::create_dir(r.0.path().join("motd")).unwrap(); }),
    ("copy a file", |r| { fs::remove_dir(r.0.path().join("copy")).unwrap(); r.file("copy", ""); }),
    ("a large motd", |r| { r.file("motd", vec![b'x'; (1 << 20) + 1]); }),
    ("copy.tar", |r| { r.file("copy.tar", ""); }),
    ("misnamed files", |r| { r.remove("packages").file("package", "").remove("customize").file("customise", "").file("README.md", ""); }),
    ("a stale submodule", |r| { r.file(".gitmodules", "[submodule \"x\"]\n\tpath = copy/opt/x\n\turl = https://example.org/x\n"); }),
    ("sixty mistakes", |r| { r.manifest(&"x\n".repeat(60)); }),
    // The shell dialect.
    ("an unclosed quote", |r| { r.manifest("description=\"never closed\nbrand=\"x\"\n"); }),
    ("a doubled quote", |r| { r.manifest("description=\"x\"\"\n"); }),
    ("a quote inside", |r| { r.manifest("description=x\"y\"\n"); }),
    ("no quotes", |r| { r.manifest("description=a&b\n"); }),
    ("a trailing comma", |r| { r.manifest("description=\"x\",\n"); }),
    ("text after a quote", |r| { r.manifest("description=\"x\"y\n"); }),
    ("text after a value", |r| { r.manifest("description=x y\n"); }),
    ("blanks around =", |r| { r.manifest("brand =\"x\"\norganization= \"x\"\n"); }),
    ("no key", |r| { r.manifest("=\"x\"\n"); }),
    ("a digit first", |r| { r.manifest("1x=\"x\"\n"); }),
    ("an empty statement", |r| { r.manifest("; brand=x\n"); }),
    ("no assignment", |r| { r.manifest("hello world\n"); }),
    ("a shell command", |r| { r.manifest("export brand=\"x\"\n"); }),
    ("substitutions", |r| { r.manifest("brand=\"$(id)\"\norganization=\"`id`\"\n"); }),
    ("an expansion", |r| { r.manifest("brand=\"$HOME\"\n"); }),
    ("an escape", |r| { r.manifest("brand=\"a\\\"b\"\n"); }),
    ("not UTF-8", |r| { r.file("manifest", b"name=\"x\"\nversion=\"1\"\nbase=\"debian-12\"\nbrand=\"\xff\"\n"); }),
    ("a control character", |r| { r.manifest("brand=\"\u{7}\"\n"); }),
    ("a long line", |r| { r.manifest(&format!("brand=\"{}\"\n", "x".repeat(50_000))); }),
    ("ame", |r| { r.file("manifest", "ame=\"x\"\nversion=\"1\"\n"); }),
    // manifest.json.
    ("JSON: a missing comma", |r| { r.json(",\n  \"brand\": \"x\"\n  \"users\": []"); }),
    ("JSON: an unclosed string", |r| { r.json(",\n  \"brand\": \"x,\n  \"users\": []"); }),
    ("JSON: an unclosed object", |r| { r.file("manifest.json", "{\n  \"name\": \"x\"\n"); }),
    ("JSON: a trailing comma", |r| { r.json(",\n  \"brand\": \"x\","); }),
    ("JSON: a version without quotes", |r| { r.json(",\n  \"homepage\": 1.0.0"); }),
    ("JSON: a comment", |r| { r.json(", // why\n  \"brand\": \"x\""); }),
    ("JSON: twice", |r| { r.json(",\n  \"brand\": \"x\",\n  \"brand\": \"y\""); }),
    ("JSON: wrong types", |r| { r.json(",\n  \"brand\": 3,\n  \"minram\": \"lots\",\n  \"users\": [1],\n  \"customer_metadata\": [],\n  \"requirements\": {\"min_ram\": \"512\", \"networks\": [\"net0\"]}"); }),
    ("JSON: no requirement", |r| { r.json(",\n  \"requirements\": {\"password\": true}"); }),
    ("JSON: more metadata than tags hold", |r| {
        let keys: Vec<String> = (0..12).map(|key| format!("\"k{key}\": {{\"description\": \"{}\"}}", "x".repeat(9000))).collect();
        r.json(&format!(",\n  \"customer_metadata\": {{\n{}\n}}", keys.join(",\n")));
    }),
    ("JSON: metadata", |r| { r.json(",\n  \"customer_metadata\": {\"a b\": {}, \"c\": {\"type\": \"bool\", \"default\": 1}, \"d\": {\"type\": \"color\", \"required\": \"yes\"}},\n  \"internal_metadata\": {\"c\": {}}"); }),
    ("JSON: a list", |r| { r.remove("manifest").file("manifest.json", "[]"); }),
    ("both differ", |r| { r.manifest("brand=\"one\"\nusers=\"root\"\n").file("manifest.json", "{\n  \"name\": \"x\",\n  \"version\": \"1.1\",\n  \"brand\": \"other\"\n}"); }),
    ("both, in two styles", |r| { r.file("manifest", "name=\"x-1.0\"\nbase=\"debian-12\"\n").file("manifest.json", "{\"name\": \"x\", \"version\": \"1.0\"}"); }),
    // Values.
    ("no name", |r| { r.file("manifest", "version=\"1\"\n"); }),
    ("no name in JSON", |r| { r.remove("manifest").file("manifest.json", "{}"); }),
    ("no version", |r| { r.file("manifest", "name=\"x\"\n"); }),
    ("the version in the name", |r| { r.file("manifest", "name=\"x-1.0\"\nversion=\"1.0\"\nbase=\"debian-12\"\n"); }),
    ("bad name and version", |r| { r.file("manifest", "name=\"a*b\"\nversion=\"1 0\"\n"); }),
    ("a key twice", |r| { r.manifest("brand=\"x\"\nbrand=\"y\"\n"); }),
    ("unknown and unused keys", |r| { r.manifest("desciption=\"x\"\nnet7=\"x\"\nmetadata=\"x\"\n"); }),
    ("too long", |r| { r.manifest(&format!("organization=\"{}\"\n", "x".repeat(2000))); }),
    ("a bad homepage", |r| { r.manifest("homepage=\"example.org\"\n"); }),
    ("bad users", |r| { r.manifest("users=\"root root ro,ot\"\n"); }),
    ("disks of virtual machines", |r| { r.manifest("type=zvol\nbase=https://cloud.example.com/disk.qcow2\nbase_checksum=12\ndisk_size=none\ndatasource=ec2\n"); }),
    ("an unchecked disk", |r| { r.manifest("type=zvol\nbase=https://cloud.example.com/disk.qcow2\ndisk_size=10\ndatasource=smartos\n"); }),
    ("keys of disks", |r| { r.manifest("os=linux\nbase=debian:bookworm\ndisk_size=10\n"); }),
    ("bad values", |r| { r.manifest("lbaas=maybe\nminram=lots\nowneruuid=x\nkernel_version=new\nmin_platform=2022\ncompression=bzip2\ntype=docker\n"); }),
    ("a UUID of 37 characters", |r| { r.file("manifest", "name=\"x\"\nversion=\"1\"\nbase=\"208f9314-29cf-4bec-9d8b-c0697d00c9299\"\n"); }),
    ("a base of no form", |r| { r.file("manifest", "name=\"x\"\nversion=\"1\"\nbase=\"ubuntu\"\n"); }),
    ("no base", |r| { r.file("manifest", "name=\"x\"\nversion=\"1\"\n"); }),
    ("networks", |r| { r.manifest("networks=\"net0 net0 n/1 net2\"\nnet0=\"public\"\n"); }),
    ("contradictions", |r| { r.manifest("minram=512\nmaxram=256\ntype=lx-dataset\nos=smartos\n"); }),
    // Lists.
    ("packages", |r| { r.file("packages", "curl wget\ncurl\n-y\nphp-8.1\nphp-8.2\nhttps://example.org/x-1.0\nzip\n").file("delete_packages", "zip-3.0\n"); }),
    // customize.
    ("no customize", |r| { r.remove("customize"); }),
    ("a bare customize", |r| { r.file("customize", "echo hello\n"); }),
    ("Windows line ends", |r| { r.file("customize", "#!/bin/bash\r\nset -e\r\n").mode("customize", 0o755); }),
    ("commands of another system", |r| { r.file("customize", "#!/bin/bash -e\napt-get -y install x\nsvcadm enable y\n").mode("customize", 0o755); }),
    ("commands of another system, Linux", |r| { r.file("manifest", "name=\"x\"\nversion=\"1\"\nbase=\"debian:bookworm\"\n").file("customize", "#!/bin/sh\nset -eu\npkgin -y in x\nsm-prepare-image -y\n").mode("customize", 0o755); }),
    ("a script that asks", |r| { r.file("customize", "#!/bin/bash\nset -e\nif command -v apt-get; then apt-get update; fi\n").mode("customize", 0o755); }),
    ("secrets", |r| { r.file("copy/root/.ssh/id_rsa", format!("-----BEGIN RSA {} KEY-----\nMIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/yGaXLDe\n", "PRIVATE"))
        .file("copy/etc/app.conf", "# password = example1\npassword = \"hunter2hunter\"\npassword = %PASSWORD%\nsecret_key=${SECRET1}\npassword_file = /etc/x1\n")
        .file("copy/etc/shadow", "root:$6$abc$def:1:::::\n")
        .file("customize", format!("#!/bin/bash\nset -e\ngit clone https://bob:{}@example.org/x\ncurl -H \"ghp_{}\"\n", "geheim", "a1".repeat(18))).mode("customize", 0o755); }),
    ("secrets on command lines", |r| { r.file("customize", "#!/bin/bash\nset -e\nexport AWS_SECRET_ACCESS_KEY=AbCdEfGhIjKlMnOpQrStUvWxYz0123456789/+ab\nmysql -u root -psecret123 -e x\necho root:hunter2x | chpasswd\ncurl -u user:hunter2xyz https://example.org\nmysql -p\"$PW\" -u x\necho \"root:$PW\" | chpasswd\n").mode("customize", 0o755); }),
    // copy/ and motd.
    ("copy/root/customize", |r| { r.file("copy/root/customize", ""); }),
    ("a pipe", |r| { fs::create_dir_all(r.0.path().join("copy")).unwrap(); assert!(std::process::Command::new("mkfifo").arg(r.0.path().join("copy/pipe")).status().unwrap().success()); }),
    ("a deep tree", |r| { deep(r.0.path().join("copy").as_path()); }),
    ("links", |r| { r.file("copy/opt/y", "").link("copy/e", "/opt/y").link("copy/etc/a", "../../../etc/passwd").link("copy/b", "/home/me/x").link("copy/c", "/opt/local/x").link("copy/usr/d", "../etc/x"); }),
    ("everybody may write", |r| { r.file("copy/etc/x", "").mode("copy/etc/x", 0o666); fs::create_dir(r.0.path().join("copy/tmp")).unwrap(); r.mode("copy/tmp", 0o1777); }),
    ("zoneinit", |r| { for name in ["31-good.sh", "01-good", "setup.sh", "999-zz.sh", "989-good.sh", ".keep"] { r.file(&format!("copy/var/zoneinit/includes/{name}"), ""); } }),
    ("droppings", |r| { for name in ["x~", ".x.swp", "#x#", ".#x", "x.orig", "Thumbs.db", ".DS_Store", "._x"] { r.file(&format!("copy/etc/{name}"), ""); } }),
    ("case", |r| { r.file("copy/etc/Readme", "").file("copy/etc/README", ""); }),
    ("placeholders", |r| { r.file("motd", "%NAME% %name% %HOSTNAME% 100% %HOSTNAME% %a b%\n"); }),
];

/// Deeper than a path may be long; made step by step, since no call takes the whole of it.
fn deep(copy: &Path) {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let open = |at: rustix::fd::BorrowedFd<'_>, name: &str| {
        openat(at, name, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap()
    };
    let mut folder = openat(CWD, copy, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    let name = "x".repeat(250);
    for _ in 0..14 {
        mkdirat(&folder, name.as_str(), Mode::from_raw_mode(0o755)).unwrap();
        folder = open(std::os::fd::AsFd::as_fd(&folder), &name);
    }
}

#[test]
fn every_kind_of_finding_has_a_repository_that_shows_it() {
    let mut text = String::new();
    let mut seen = BTreeSet::new();
    for (title, change) in FIXTURES {
        let repository = good();
        change(&repository);
        let (of_one, codes) = found(repository.path(), repository.0.path());
        let short: String = of_one
            .lines()
            .take(24)
            .map(|line| line.to_owned() + "\n")
            .collect();
        // The deep tree's name is as long as it is.
        let short = short
            .replace(&"x".repeat(250), "xxx")
            .replace(&"xxx/".repeat(12), "…/");
        write!(text, "## {title}\n{short}\n").unwrap();
        seen.extend(codes);
    }
    let gone = good().path().join("gone");
    let (of_one, codes) = found(&gone, gone.parent().unwrap().as_std_path());
    write!(text, "## no folder\n{of_one}").unwrap();
    seen.extend(codes);
    insta::assert_snapshot!(text);
    let missing: Vec<&str> = Code::ALL
        .iter()
        .filter(|code| !seen.contains(code) && !ELSEWHERE.iter().any(|(other, _)| other == *code))
        .map(|code| code.name())
        .collect();
    assert_eq!(missing, [""; 0], "kinds that no repository shows");
    for (code, place) in ELSEWHERE {
        assert!(
            !seen.contains(&code),
            "{code} is shown after all, not only: {place}"
        );
    }
}

/// Secrets must not come into logs by the tool that looks for them.
#[test]
fn no_finding_repeats_a_secret() {
    let repository = good();
    let token = format!("ghp_{}", "Zz9".repeat(12));
    repository.file(
        "copy/etc/x",
        format!("token: {token}\npassword=\"Sup3rSecretWord\"\n"),
    );
    let checked = check(repository.path());
    assert_eq!(checked.findings.len(), 2, "{:?}", checked.findings);
    let all = format!("{:?}", checked.findings);
    assert!(
        !all.contains(&token) && !all.contains("Sup3rSecretWord"),
        "{all}"
    );
}

/// `docs/findings.md` is made from the code; `MIBE_UPDATE_DOCS=1` writes it anew.
#[test]
fn the_documentation_lists_them_all() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/findings.md");
    let page = mibe_recipe::findings_page();
    if std::env::var_os("MIBE_UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/findings.md is out of date: cargo xtask pages"
    );
    let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len(), "two kinds of one name");
    for code in Code::ALL {
        assert_eq!(Code::find(code.name()), Some(*code));
        for text in [code.title(), code.why(), code.mend()] {
            assert!(!text.is_empty(), "{code}");
        }
        assert!(
            code.why().ends_with('.') && !code.title().ends_with('.'),
            "{code}"
        );
    }
}
