//! Whole repositories, made on disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy lets tests unwrap, but not the helpers beside them"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use camino::Utf8Path;
use mibe_recipe::{EntryKind, Problems, ReadOutcome, Recipe, Severity};

struct Repository(tempfile::TempDir);

impl Repository {
    /// One that has nothing wrong with it.
    fn new() -> Self {
        let repository = Self::empty();
        repository.file(
            "manifest",
            "name=\"hello\"\nversion=\"1.0\"\norganization=\"Org\"\nbrand=\"Instance\"\n",
        );
        repository.file("customize", "#!/bin/bash\nexit 0\n");
        repository.mode("customize", 0o755);
        repository
    }

    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(&self) -> Result<ReadOutcome, Problems> {
        Recipe::read(self.path())
    }

    fn recipe(&self) -> Recipe {
        let outcome = self.read().unwrap();
        assert_eq!(outcome.warnings, [], "warnings");
        outcome.recipe
    }

    fn warnings(&self) -> Vec<String> {
        let outcome = self.read().unwrap();
        assert!(
            outcome
                .warnings
                .iter()
                .all(|problem| problem.severity == Severity::Warning)
        );
        outcome.warnings.iter().map(ToString::to_string).collect()
    }

    fn errors(&self) -> Vec<String> {
        let problems = self.read().unwrap_err();
        assert!(problems.0[0].is_error());
        problems.0.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_whole_repository() {
    let repository = Repository::new();
    repository.file("packages", "nginx\ncurl");
    repository.file("delete_packages", "exim4-base\n");
    repository.file("motd", b"%name% %version% %HOSTNAME%\xff \n");
    repository.file("copy/etc/b file", "12345");
    repository.file("copy/etc/a$1", "1");
    repository.mode("copy/etc/a$1", 0o4755);
    symlink("../missing", repository.path().join("copy/etc/link")).unwrap();
    let recipe = repository.recipe();
    assert_eq!(recipe.name_version(), "hello-1.0");
    assert_eq!(
        recipe
            .packages
            .iter()
            .map(|p| p.value.as_str())
            .collect::<Vec<_>>(),
        ["nginx", "curl"]
    );
    assert_eq!(recipe.delete_packages[0].value, "exim4-base");
    assert_eq!(recipe.motd_text().unwrap(), b"hello 1.0 %HOSTNAME%\xff \n");
    assert_eq!(
        recipe.product_text(Some("debian 12")),
        "Name: Org Instance\nImage: hello 1.0\nBase Image: debian 12\nDocumentation:\nDescription:\n"
    );
    let customize = recipe.customize.as_ref().unwrap();
    assert_eq!(customize.contents, b"#!/bin/bash\nexit 0\n");
    assert_eq!(
        (customize.executable, customize.interpreter.as_deref()),
        (true, Some("/bin/bash"))
    );
    let copy: Vec<_> = recipe
        .copy
        .iter()
        .map(|e| (e.path.to_str().unwrap(), e.kind.clone(), e.size))
        .collect();
    assert_eq!(
        copy,
        [
            ("etc", EntryKind::Directory, 0),
            ("etc/a$1", EntryKind::File, 1),
            ("etc/b file", EntryKind::File, 5),
            ("etc/link", EntryKind::Symlink("../missing".into()), 0),
        ]
    );
    assert_eq!(recipe.copy[1].mode, 0o4755);
    let summary = recipe.summary();
    assert_eq!(
        (
            summary.copy.files,
            summary.copy.directories,
            summary.copy.symlinks,
            summary.copy.bytes
        ),
        (2, 1, 1, 6)
    );
    let json = serde_json::to_string(&summary).unwrap();
    assert!(
        json.starts_with(r#"{"name":"hello","version":"1.0","organization":"Org""#),
        "{json}"
    );
}

#[test]
fn droppings_stay_out() {
    let repository = Repository::new();
    for name in [
        "copy/.DS_Store",
        "copy/._x",
        "copy/empty/.gitignore",
        "copy/kept/.keep",
        "copy/kept/.gitkeep",
        "copy/mac/.keep",
        "copy/mac/._.keep",
        "copy/home/.gitignore",
        "copy/home/.profile",
    ] {
        repository.file(name, "x");
    }
    let recipe = repository.recipe();
    let paths: Vec<_> = recipe
        .copy
        .iter()
        .map(|entry| entry.path.to_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "empty",
            "home",
            "home/.gitignore",
            "home/.profile",
            "kept",
            "mac"
        ]
    );
}

#[test]
fn all_problems_of_all_files_come_at_once() {
    let repository = Repository::empty();
    repository.file("manifest", "name=\"hello\nversion=\"1.0\"\"\nbase=x y\n");
    repository.file("packages", "nginx\n--yes\n");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        repository.path().join("fifo").as_std_path(),
        0o644.into(),
    )
    .unwrap();
    fs::create_dir(repository.path().join("copy")).unwrap();
    fs::rename(
        repository.path().join("fifo"),
        repository.path().join("copy/pipe"),
    )
    .unwrap();
    let _socket =
        std::os::unix::net::UnixListener::bind(repository.path().join("copy/sock")).unwrap();
    assert_eq!(
        repository.errors(),
        [
            "copy/pipe: error: a named pipe can't be copied into an image",
            "copy/sock: error: a socket can't be copied into an image",
            "customize: error: there is no customize script",
            "manifest:1:6: error: the value of `name` has no closing \"",
            "manifest:2:14: error: another \" right after the closing quote",
            "manifest:3:8: error: this text after the value belongs to nothing",
            "packages:2:1: error: `--yes` would be an option of the package manager",
        ]
    );
}

#[test]
fn folders_that_are_no_repository() {
    let repository = Repository::empty();
    assert!(repository.errors()[0].contains("has none of manifest"));
    repository.file("sdc-vmtools/x", "");
    assert!(repository.errors()[0].contains("it has sdc-vmtools and no manifest"));
    repository.file("manifest.json", r#"{"image_uuid": "x", "nics": []}"#);
    let errors = repository.errors();
    assert!(
        errors
            .iter()
            .any(|error| error.contains("is a payload of `vmadm create` (it has `image_uuid`)")),
        "{errors:?}"
    );
    let repository = Repository::empty();
    repository.file("packages", "x");
    assert!(repository.errors()[0].ends_with("has no manifest"));
    let error = Recipe::read(&repository.path().join("gone")).unwrap_err();
    assert!(error.to_string().contains("there is no folder"), "{error}");
    let error = Recipe::read(&repository.path().join("packages")).unwrap_err();
    assert!(error.to_string().contains("is not a folder"), "{error}");
}

#[test]
fn odd_repositories_are_read_with_warnings() {
    let repository = Repository::new();
    repository.file("customize", "echo hello\n");
    repository.mode("customize", 0o644);
    repository.file("manifest.json", r#"{"nics": []}"#);
    repository.file("copy.tar", "");
    repository.file("copy/root/customize", "");
    let warnings = repository.warnings();
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert!(
        warnings
            .contains(&"customize: warning: is not executable; it is run all the same".to_owned()),
        "{warnings:?}"
    );
}

#[test]
fn links_do_not_lead_out_and_files_are_files() {
    let repository = Repository::new();
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), repository.path().join("motd")).unwrap();
    assert_eq!(
        repository.errors(),
        ["motd: error: is a link to a file outside of the repository"]
    );
    fs::remove_file(repository.path().join("motd")).unwrap();
    repository.file("shared/motd", "hi");
    symlink("shared/motd", repository.path().join("motd")).unwrap();
    assert_eq!(repository.recipe().motd.unwrap(), b"hi");
    fs::remove_file(repository.path().join("motd")).unwrap();
    fs::create_dir(repository.path().join("motd")).unwrap();
    assert_eq!(repository.errors(), ["motd: error: is not a regular file"]);
    fs::remove_dir(repository.path().join("motd")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        repository.path().join("motd").as_std_path(),
        0o644.into(),
    )
    .unwrap();
    assert_eq!(repository.errors(), ["motd: error: is not a regular file"]);
    fs::remove_file(repository.path().join("motd")).unwrap();
    repository.file("motd", vec![b'x'; (1 << 20) + 1]);
    assert_eq!(
        repository.errors(),
        ["motd: error: is larger than 1048576 bytes"]
    );
    repository.file("motd", "");
    symlink(".", repository.path().join("copy")).unwrap();
    assert_eq!(repository.errors(), ["copy: error: is not a folder"]);
}

#[test]
fn unreadable_entries_are_named() {
    let repository = Repository::new();
    repository.file("copy/etc/secret", "x");
    repository.file("copy/var/db/x", "x");
    repository.mode("copy/etc/secret", 0);
    repository.mode("copy/var/db", 0);
    let run = || repository.errors();
    // Root reads everything: another user has to try.
    let errors = if rustix_is_root() {
        as_nobody(repository.path())
    } else {
        run()
    };
    repository.mode("copy/var/db", 0o755);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with("copy/etc/secret: error: can't be read: Permission denied"),
        "{errors:?}"
    );
    assert!(
        errors[1].starts_with("copy/var/db: error: can't be read: Permission denied"),
        "{errors:?}"
    );
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// Reads the repository in a process of the user `nobody`, by the test below.
fn as_nobody(repository: &Utf8Path) -> Vec<String> {
    use std::os::unix::process::CommandExt as _;
    let binary = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let copy = binary.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(repository, fs::Permissions::from_mode(0o755)).unwrap();
    let output = std::process::Command::new(Path::new(&copy))
        .args(["--exact", "print_problems", "--nocapture"])
        .env("MIBE_TEST_REPOSITORY", repository)
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| line.contains(": error: "))
        .map(str::to_owned)
        .collect()
}

/// The inner half of the test of unreadable entries, which starts it as another user.
#[test]
fn print_problems() {
    let Ok(repository) = std::env::var("MIBE_TEST_REPOSITORY") else {
        return;
    };
    for problem in Recipe::read(Utf8Path::new(&repository)).unwrap_err().0 {
        println!("{problem}");
    }
}

#[test]
fn a_line_without_end_costs_neither_time_nor_memory() {
    let started = std::time::Instant::now();
    for (name, piece) in [
        ("packages", "a "),
        ("delete_packages", "b "),
        ("manifest", "a=;"),
        ("manifest", "users='x' "),
    ] {
        for size in [4000, 40_000, 120_000, 1_000_000] {
            let repository = Repository::new();
            let mut text = String::new();
            if name == "manifest" {
                text.push_str("name=hello\nversion=1.0\n");
            }
            while text.len() < size {
                text.push_str(piece);
            }
            repository.file(name, &text);
            // Whatever comes of it; long ones are told where they are.
            let outcome = match repository.read() {
                Ok(outcome) => outcome.warnings,
                Err(problems) => problems.0,
            };
            if name != "manifest" && size > 4096 {
                assert!(
                    outcome
                        .iter()
                        .any(|problem| problem.to_string().contains(":1:1: error: a line of")),
                    "{outcome:?}"
                );
            }
        }
    }
    // A square of it would take hours; the bound is for slow machines.
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn the_digest_is_that_of_the_content() {
    let make = || {
        let repository = Repository::new();
        repository.file("packages", "nginx\n");
        repository.file("copy/etc/x", "12345");
        repository.mode("copy/etc/x", 0o644);
        repository
    };
    let digest =
        |repository: &Repository| repository.read().unwrap().recipe.content_digest().unwrap();
    let first = digest(&make());
    let same = make();
    // Neither how it was written nor a umask matters.
    same.file(
        "manifest",
        "# x\nversion=1.0\nname='hello'\nbrand='Instance'; organization=\"Org\"",
    );
    same.file("packages", "# web\nnginx # x");
    same.mode("copy/etc/x", 0o664);
    assert_eq!(digest(&same), first);
    let changes: [&dyn Fn(&Repository); 9] = [
        &|r| r.file("copy/etc/x", "12346"),
        &|r| r.mode("copy/etc/x", 0o755),
        &|r| r.file("copy/etc/y", ""),
        &|r| r.file("packages", "curl"),
        &|r| r.file("motd", ""),
        &|r| r.file("customize", "#!/bin/bash\nexit 1\n"),
        &|r| {
            r.file(
                "manifest",
                "name=hello\nversion=1.1\norganization=Org\nbrand=Instance",
            );
        },
        &|r| symlink("x", r.path().join("copy/etc/z")).unwrap(),
        &|r| fs::rename(r.path().join("copy/etc/x"), r.path().join("copy/etc/w")).unwrap(),
    ];
    let mut digests = vec![first];
    for change in changes {
        let repository = make();
        change(&repository);
        digests.push(digest(&repository));
    }
    let all = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), all);
    let repository = make();
    let recipe = repository.recipe();
    fs::remove_file(repository.path().join("copy/etc/x")).unwrap();
    assert_eq!(recipe.content_digest().unwrap_err().0[0].file, "copy/etc/x");
}
