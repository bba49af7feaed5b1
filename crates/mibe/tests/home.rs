//! The home: settings, repositories by name, the list, and the old commands' names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that can't go on ends"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Ran, Who, World, names, succeed};

fn git(folder: &Path, arguments: &[&str]) -> String {
    succeed(
        Command::new("git")
            .args([
                "-c",
                "user.name=Test",
                "-c",
                "user.email=test@example.org",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .current_dir(folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null"),
    )
}

/// A home in the user's home, with a folder of bare repositories as its server.
struct Site {
    world: World,
    home: PathBuf,
    server: PathBuf,
}

impl Site {
    fn new(list: &str) -> Self {
        let world = World::new(Who::Root);
        let home = world.home().join("mibe");
        let server = world.home().join("server");
        fs::create_dir(&server).unwrap();
        world.mibe(&["init-home", "mibe"]).expect(0);
        fs::write(
            home.join("etc/repos.conf"),
            format!("# where\nGITSERVER=\"{}/\";\n", server.display()),
        )
        .unwrap();
        fs::write(home.join("etc/repos.list"), list).unwrap();
        fs::write(
            world.home().join(".gitconfig"),
            "[user]\n\tname = Test\n\temail = test@example.org\n[init]\n\tdefaultBranch = main\n",
        )
        .unwrap();
        Self {
            world,
            home,
            server,
        }
    }

    /// A repository that passes `mibe check`, on the server.
    fn served(&self, name: &str) {
        let work = self.world.home().join(format!("work-{name}/{name}"));
        self.world.mibe(&["init", work.to_str().unwrap()]).expect(0);
        git(&work, &["init", "-q"]);
        git(&work, &["add", "-A"]);
        git(&work, &["commit", "-qm", "first"]);
        git(&work, &["tag", "v1"]);
        let bare = self.server.join(format!("{name}.git"));
        git(
            &self.server,
            &[
                "clone",
                "-q",
                "--bare",
                work.to_str().unwrap(),
                bare.to_str().unwrap(),
            ],
        );
        git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
    }

    fn commit(&self, name: &str, text: &str) {
        let work = self.world.home().join(format!("work-{name}/{name}"));
        fs::write(work.join("Changelog.md"), text).unwrap();
        git(&work, &["commit", "-qam", "more"]);
        git(&work, &["push", "-q", "origin", "HEAD"]);
    }

    fn at(&self, folder: &str, arguments: &[&str]) -> Ran {
        let mut command = self.world.command(arguments);
        Ran::of(
            &command
                .current_dir(self.home.join(folder))
                .output()
                .unwrap(),
        )
    }

    /// An old command, found in the home's bin/.
    fn old(&self, name: &str, arguments: &[&str]) -> Ran {
        let output = Command::new(self.home.join("bin").join(name))
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.world.home())
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::of(&output)
    }
}

#[test]
fn repositories_come_by_the_list_and_are_known_by_name() {
    let site = Site::new("# ours\nmi-a\nmi-b@v1 b-one\n\nmi-gone\n");
    site.served("mi-a");
    site.served("mi-b");
    let ran = site.at("", &["repos", "clone"]).expect(1);
    ran.says("not done: mi-gone");
    assert!(ran.stdout.contains("mi-a     cloned"), "{}", ran.stdout);
    assert_eq!(names(&site.home.join("repos")), ["b-one", "mi-a"]);
    // From below the home, too, and by name.
    let ran = site.at("repos/mi-a", &["check", "mi-a", "b-one"]).expect(0);
    assert!(
        ran.stdout
            .contains("2 repositories: 0 with errors, 0 with warnings"),
        "{}",
        ran.stdout
    );
    let ran = site.at("etc", &["build", "mi-a", "--dry-run"]).expect(0);
    let images = site.home.join("images/a-0.1.0.zfs.gz");
    assert!(
        ran.stdout.contains(images.to_str().unwrap()),
        "{}",
        ran.stdout
    );
    site.at("", &["build", "mi-aa"])
        .expect(2)
        .says("did you mean mi-a?");
    site.at("", &["repos", "pull", "mi-aa"])
        .expect(2)
        .says("did you mean mi-a?");
    // A path is a path.
    site.at("repos", &["check", "mi-a"]).expect(0);
    site.at("", &["check", "./mi-a"])
        .expect(1)
        .says("mend first");

    site.commit("mi-a", "changed\n");
    let motd = site.home.join("repos/mi-a/motd");
    fs::write(&motd, "mine\n").unwrap();
    let ran = site.at("", &["repos", "pull", "--json"]).expect(1);
    let states: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].clone())
        .collect();
    assert_eq!(states, ["dirty", "up to date", "missing"]);
    assert_eq!(fs::read_to_string(&motd).unwrap(), "mine\n");
    git(&site.home.join("repos/mi-a"), &["checkout", "-q", "motd"]);
    let ran = site.at("", &["repos", "pull", "mi-a"]).expect(0);
    assert!(
        ran.stdout
            .contains("mi-a  updated       1 new commit on main"),
        "{}",
        ran.stdout
    );
    let ran = site.at("", &["repos", "status"]).expect(0);
    assert!(ran.stdout.contains("mi-gone  not cloned"), "{}", ran.stdout);
    let ran = site.at("", &["repos", "list"]).expect(0);
    assert!(ran.stdout.contains("@v1"), "{}", ran.stdout);
}

#[test]
fn the_old_commands_answer_to_their_names() {
    let site = Site::new("mi-a\nmi-gone\n");
    site.served("mi-a");
    let ran = site.old("repo_cloneall", &[]).expect(0);
    assert!(ran.stdout.contains("* Cloning "), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("* ERROR - Couldn't clone "),
        "{}",
        ran.stdout
    );
    let ran = site.old("repo_cloneall", &[]).expect(0);
    assert!(
        ran.stdout.contains("* mi-a already exists, skipping."),
        "{}",
        ran.stdout
    );
    site.commit("mi-a", "changed\n");
    site.old("repo_pullall", &[]).expect(0);
    assert_eq!(
        fs::read_to_string(site.home.join("repos/mi-a/Changelog.md")).unwrap(),
        "changed\n"
    );

    git(&site.server, &["init", "-q", "--bare", "mi-new.git"]);
    site.old("repo_init", &["-g", "smartos", "mi-new"])
        .expect(0);
    let new = site.home.join("repos/mi-new");
    assert_eq!(
        git(&site.server.join("mi-new.git"), &["rev-parse", "main"]),
        git(&new, &["rev-parse", "HEAD"])
    );
    site.at("", &["check", "mi-new", "--strict"]).expect(0);
    site.old("repo_init", &["smartos", "mi-new"])
        .expect(2)
        .says("is there already");
    site.old("repo_init", &["linux", "mi-x"])
        .expect(2)
        .says("usage");
    for name in ["../outside", "a/b", ""] {
        site.old("repo_init", &["smartos", name])
            .expect(2)
            .says("usage");
    }
    assert!(!site.home.join("outside").exists());
    site.old("build_smartos", &["mi-new"])
        .expect(3)
        .says("this machine is no SmartOS global zone");
    site.old("build_smartos", &[]).expect(2).says("usage");
}

#[test]
fn what_an_old_home_has_stays() {
    let world = World::new(Who::Root);
    let home = world.home().join("old");
    fs::create_dir_all(home.join("bin")).unwrap();
    fs::create_dir_all(home.join("etc")).unwrap();
    fs::write(home.join("bin/repo_cloneall"), "#!/bin/bash\n").unwrap();
    fs::write(home.join("etc/repos.list"), "mi-a\n").unwrap();
    let ran = world.mibe(&["init-home", "old"]).expect(0);
    assert!(
        ran.stdout.contains("kept  old/etc/repos.list"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("    rm old/bin/repo_cloneall\n"),
        "{}",
        ran.stdout
    );
    assert_eq!(
        fs::read_to_string(home.join("bin/repo_cloneall")).unwrap(),
        "#!/bin/bash\n"
    );
    assert_eq!(
        fs::read_to_string(home.join("etc/repos.list")).unwrap(),
        "mi-a\n"
    );
    let again = world.mibe(&["init-home", "old"]).expect(0).stdout;
    assert!(!again.contains("made"), "{again}");
    assert!(!again.contains("bin/repo_pullall\n\n"), "{again}");
    let ran = world.mibe(&["check", "mi-a"]).expect(1);
    assert!(
        ran.stdout
            .contains("no home that could have one of that name"),
        "{}",
        ran.stdout
    );
}

#[test]
fn settings_are_found_and_wrong_ones_are_shown_where_they_stand() {
    let site = Site::new("mi-a\n");
    site.served("mi-a");
    let toml = site.home.join("mibe.toml");
    assert!(fs::read_to_string(&toml).unwrap().contains("# mirror = "));
    fs::write(
        &toml,
        "[build]\noutput = \"out\"\ncompression = \"none\"\n[repos]\njobs = 1\n",
    )
    .unwrap();
    site.at("", &["repos", "clone"]).expect(0);
    let ran = site.at("", &["build", "mi-a", "--dry-run"]).expect(0);
    let file = site.home.join("out/a-0.1.0.zfs\n");
    assert!(
        ran.stdout.contains(file.to_str().unwrap()),
        "{}",
        ran.stdout
    );
    let ran = site
        .at(
            "",
            &[
                "build",
                "mi-a",
                "--dry-run",
                "--output",
                "there",
                "--compression",
                "gzip",
            ],
        )
        .expect(0);
    assert!(
        ran.stdout.contains("there/a-0.1.0.zfs.gz"),
        "{}",
        ran.stdout
    );
    // The user's stand behind the home's.
    let config = site.world.config().join("mibe");
    fs::create_dir_all(&config).unwrap();
    fs::write(
        config.join("mibe.toml"),
        "[build]\noutput = \"/elsewhere\"\nbase = \"debian:trixie\"\n",
    )
    .unwrap();
    let manifest = site.home.join("repos/mi-a/manifest");
    let text = fs::read_to_string(&manifest)
        .unwrap()
        .replace("base=", "# base=");
    fs::write(&manifest, text).unwrap();
    let ran = site.at("", &["build", "mi-a", "--dry-run"]).expect(0);
    assert!(
        ran.stdout.contains(file.to_str().unwrap()) && ran.stdout.contains("debian:trixie"),
        "{}",
        ran.stdout
    );
    fs::write(&toml, "[build]\nmiror = \"x\"\n").unwrap();
    site.at("", &["build", "mi-a", "--dry-run"])
        .expect(2)
        .says("mibe.toml:2:1")
        .says("did you mean `build.mirror`?");
    let mut command = site.world.command(&["repos", "list"]);
    let ran = Ran::of(&command.env("MIBE_HOME", "/nowhere").output().unwrap());
    ran.expect(2).says("/nowhere");
    let mut command = site.world.command(&["repos", "clone"]);
    Ran::of(&command.current_dir("/").output().unwrap())
        .expect(2)
        .says("init-home");
}

#[test]
fn what_init_makes_is_whole_and_passes() {
    let world = World::new(Who::Root);
    for kind in ["lx", "native", "hvm"] {
        let name = format!("mi-{kind}");
        world.mibe(&["init", &name, "--type", kind]).expect(0);
        let ran = world.mibe(&["check", &name, "--strict"]).expect(0);
        assert!(ran.stdout.contains("nothing found"), "{}", ran.stdout);
        let manifest = fs::read_to_string(world.home().join(&name).join("manifest")).unwrap();
        assert!(manifest.contains(&format!("name=\"{kind}\"")), "{manifest}");
        assert!(!manifest.contains('@'), "{manifest}");
    }
    world
        .mibe(&["init", "mi-lx"])
        .expect(2)
        .says("is there already");
    world
        .mibe(&["init", "mi-a b"])
        .expect(2)
        .says("can't be the name");
    world.mibe(&["init", "mi-"]).expect(2);
    for url in ["", "not a url", "owner/name"] {
        world
            .mibe(&["init", "mi-u", "--git", url])
            .expect(2)
            .says("is no URL");
    }
    assert!(!world.home().join("mi-u").exists());
    // Without a name of its user, git can't commit: the files are there all the same.
    let ran = world.mibe(&["init", "mi-g", "--git", "https://example.org/o/mi-g.git"]);
    assert!(matches!(ran.status, Some(0 | 1)), "{ran:?}");
    let manifest = fs::read_to_string(world.home().join("mi-g/manifest")).unwrap();
    assert!(
        manifest.contains("homepage=\"https://example.org/o/mi-g\""),
        "{manifest}"
    );
}

/// An image server would take what comes of it; the metadata keys are where other tools look for them.
#[test]
fn what_init_makes_for_lx_builds_as_it_is_with_the_sites_owner_and_metadata_as_tags() {
    let world = World::with_base(Who::Root);
    let home = world.home().join("site");
    world.mibe(&["init-home", "site"]).expect(0);
    let owner = "5d9f7b2e-2fc5-11ef-aca1-0cc47aabb682";
    fs::write(
        home.join(".mibecfg"),
        format!("owneruuid=\"{owner}\"\nownername=\"x\"\nurn_cloud_name=\"sdc\"\nurn_creator_name=\"us\"\n[[ -f x ]] && source x\n"),
    )
    .unwrap();
    let at = |arguments: &[&str]| {
        Ran::of(
            &world
                .command(arguments)
                .current_dir(&home)
                .output()
                .unwrap(),
        )
    };
    at(&["init", "mi-first"]).expect(0);
    let folder = home.join("repos/mi-first");
    let packages = folder.join("packages");
    // Fewer packages build faster; what is checked here is the same.
    fs::write(&packages, "systemd-sysv\nopenssh-server\n").unwrap();
    at(&["convert", "mi-first"]).expect(0);
    fs::remove_file(folder.join("manifest")).unwrap();
    let path = folder.join("manifest.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json["customer_metadata"] = serde_json::json!({
        "root_authorized_keys": {"description": "keys", "required": true},
        "tls": {"type": "bool"},
    });
    json["requirements"] = serde_json::json!({"ssh_key": true});
    fs::write(&path, json.to_string()).unwrap();
    at(&["build", "mi-first"]).expect(0);
    let manifest = fs::read_to_string(home.join("images/first-0.1.0.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let tags = &manifest["tags"];
    assert_eq!(tags["customer_metadata_keys"], "root_authorized_keys tls");
    assert_eq!(
        tags["customer_metadata_description:root_authorized_keys"],
        "keys"
    );
    assert_eq!(
        tags["customer_metadata_required:root_authorized_keys"],
        true
    );
    assert_eq!(tags["customer_metadata_type:tls"], "boolean");
    assert_eq!(manifest["requirements"]["ssh_key"], true);
    assert_eq!(manifest["owner"], owner);
    assert_eq!(manifest["urn"], "sdc:us:first:0.1.0");
    world.assert_nothing_left();
}
