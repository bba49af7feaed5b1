//! Fifty repositories from real git servers, of which some fail, hang, want credentials or were rewritten: nothing stops the others, and
//! nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use mibe_home::repos::{clone, look, names, pull};
use support::http::Http;
use support::{Daemon, World, free_port};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(4);

#[test]
fn fifty_repositories_and_nothing_lost() {
    let world = World::new();
    let projects = world.path("projects");
    let daemon = Daemon::new(&projects);
    let http = Http::new(&projects, Duration::ZERO);
    let mut list = String::new();
    let mut good = Vec::new();
    // From three kinds of server.
    for number in 0..14 {
        let name = format!("web{number}");
        world.project(&name);
        writeln!(list, "{}", http.url(&format!("ok/{name}.git"))).unwrap();
        good.push(name);
    }
    for number in 0..8 {
        let name = format!("daemon{number}");
        world.project(&name);
        writeln!(list, "{}", daemon.url(&name)).unwrap();
        good.push(name);
    }
    for number in 0..8 {
        let name = format!("local{number}");
        world.project(&name);
        writeln!(list, "{name}").unwrap();
        good.push(name);
    }
    // What is asked for by a ref.
    let commit = world.run_git(&world.path("work/web0"), &["rev-parse", "main~1"]);
    let commit = commit.trim();
    for (reference, folder) in [
        ("dev", "on-dev"),
        ("feature/x", "on-feature"),
        ("v1", "on-tag"),
        (commit, "on-commit"),
    ] {
        writeln!(list, "{}@{reference} {folder}", http.url("ok/web0.git")).unwrap();
        good.push(folder.to_owned());
    }
    writeln!(list, "{}@nope on-nothing", http.url("ok/web0.git")).unwrap();
    // Submodules: one that is there, one that is only named, one that can't be had.
    for (name, url) in [
        ("with-sub", Some(http.url("ok/web1.git"))),
        ("stale-sub", None),
        ("bad-sub", Some(http.url("missing/x.git"))),
    ] {
        world.project(name);
        let work = world.path("work").join(name);
        match url {
            Some(url) => {
                let source = if name == "bad-sub" {
                    http.url("ok/web1.git")
                } else {
                    url.clone()
                };
                world.run_git(&work, &["submodule", "--quiet", "add", &source, "sub"]);
                let text = fs::read_to_string(work.join(".gitmodules"))
                    .unwrap()
                    .replace(&source, &url);
                fs::write(work.join(".gitmodules"), text).unwrap();
            }
            None => fs::write(
                work.join(".gitmodules"),
                "[submodule \"gone\"]\n\tpath = gone\n\turl = https://example.org/x\n",
            )
            .unwrap(),
        }
        world.run_git(&work, &["add", "-A"]);
        world.run_git(&work, &["commit", "-qm", "submodule"]);
        world.run_git(&work, &["push", "-q", "origin", "main"]);
        writeln!(list, "{}", http.url(&format!("ok/{name}.git"))).unwrap();
    }
    good.extend(["with-sub", "stale-sub"].map(ToOwned::to_owned));
    world.run_git(&projects, &["init", "-q", "--bare", "empty.git"]);
    writeln!(list, "{}", http.url("ok/empty.git")).unwrap();
    good.push("empty".to_owned());
    // Credentials, for one of two.
    for name in ["shown", "hidden"] {
        world.project(name);
        writeln!(list, "{}", http.url(&format!("private/{name}.git"))).unwrap();
    }
    good.push("shown".to_owned());
    world.configure(&format!(
        "[credential]\n\tuseHttpPath = true\n[credential \"{}\"]\n\thelper = \"!f() {{ test $1 = get && printf 'username=user\\\\npassword=secret\\\\n'; }}; f\"\n",
        http.url("private/shown.git")
    ));
    // What fails.
    for manner in ["missing", "broken", "cut"] {
        writeln!(list, "{} {manner}", http.url(&format!("{manner}/web2.git"))).unwrap();
    }
    writeln!(list, "http://127.0.0.1:{}/x.git refused", free_port()).unwrap();
    writeln!(list, "git://127.0.0.1:{}/x.git daemon-refused", free_port()).unwrap();
    writeln!(list, "{} not-exported", daemon.url("nothing")).unwrap();
    let hanging = Http::new(&projects, Duration::ZERO);
    for number in 0..3 {
        writeln!(
            list,
            "{} hang{number}",
            hanging.url(&format!("hang/{number}.git"))
        )
        .unwrap();
    }
    writeln!(list, "no-such").unwrap();

    for name in ["moved", "elsewhere"] {
        world.project(name);
    }
    writeln!(list, "{}@v1 moved", daemon.url("moved")).unwrap();
    writeln!(list, "{}", http.url("ok/elsewhere.git")).unwrap();
    good.extend(["moved", "elsewhere"].map(ToOwned::to_owned));
    let entries = world.entries(&list);
    assert!(entries.len() >= 50, "{}", entries.len());
    let outcomes = world.all(&entries, SHORT * 5, |git, entry, repos, limits| {
        let timeout = if entry.name.starts_with("hang") {
            Duration::from_secs(1)
        } else {
            limits.timeout
        };
        clone(
            git,
            entry,
            repos,
            mibe_home::repos::Limits { timeout, ..limits },
        )
    });
    good.sort();
    let cloned: Vec<&String> = outcomes
        .values()
        .filter(|outcome| !outcome.failed)
        .map(|outcome| &outcome.name)
        .collect();
    assert_eq!(cloned, good.iter().collect::<Vec<_>>(), "{outcomes:#?}");
    // Whole at their places, or not there at all.
    let mut there: Vec<String> = fs::read_dir(world.repos())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, good);
    for (name, words) in [
        ("hidden", "ssh-agent"),
        ("missing", "name it"),
        ("no-such", "name it"),
        ("not-exported", "name it"),
        ("broken", "try again"),
        ("refused", "try again"),
        ("daemon-refused", "try again"),
        ("cut", "try again"),
        ("hang0", "--timeout"),
        ("on-nothing", "behind the @"),
    ] {
        let outcome = &outcomes[name];
        assert!(
            outcome
                .advice
                .as_ref()
                .is_some_and(|advice| advice.contains(words)),
            "{outcome:?}"
        );
    }
    assert_eq!(
        fs::read_to_string(world.clone_of("on-dev").join("file")).unwrap(),
        "web0 dev\n"
    );
    assert_eq!(
        fs::read_to_string(world.clone_of("on-feature").join("file")).unwrap(),
        "web0 feature\n"
    );
    assert_eq!(
        fs::read_to_string(world.clone_of("on-tag").join("file")).unwrap(),
        "web0 one\n"
    );
    assert_eq!(world.head(&world.clone_of("on-commit")).trim(), commit);
    assert!(world.clone_of("with-sub").join("sub/file").exists());
    let again = world.all(&entries[..3], LONG, clone);
    assert!(
        again.values().all(|outcome| outcome.state == "there"),
        "{again:?}"
    );

    pulls(&world, &http, &daemon);
}

/// What is done to a clone, or to its server, before it is pulled.
type Change = fn(&World, &str);

/// Pulls after all that can have happened meanwhile.
fn pulls(world: &World, http: &Http, daemon: &Daemon) {
    let git = |world: &World, name: &str, arguments: &[&str]| {
        world.run_git(&world.clone_of(name), arguments)
    };
    #[rustfmt::skip]
    let cases: &[(&str, &str, Change)] = &[
        ("web0", "up to date", |_, _| {}),
        ("web1", "updated", |world, name| world.advance(name, "main", "new", "x")),
        ("web2", "dirty", |world, name| { world.advance(name, "main", "new", "x"); fs::write(world.clone_of(name).join("file"), "mine").unwrap(); }),
        ("web3", "dirty", |world, name| { world.advance(name, "main", "new", "x"); fs::write(world.clone_of(name).join("more"), "mine").unwrap(); world.run_git(&world.clone_of(name), &["add", "more"]); }),
        ("web4", "in the way", |world, name| { world.advance(name, "main", "new", "x"); fs::write(world.clone_of(name).join("new"), "mine").unwrap(); }),
        ("web5", "updated", |world, name| { world.advance(name, "main", "new", "x"); fs::write(world.clone_of(name).join("other"), "mine").unwrap(); }),
        ("web6", "ahead", |world, name| own_commit(world, name)),
        ("web7", "diverged", |world, name| { world.advance(name, "main", "new", "x"); own_commit(world, name); }),
        ("web8", "rewritten", |world, name| world.rewrite(name, "main")),
        ("web9", "diverged", |world, name| { own_commit(world, name); world.rewrite(name, "main"); }),
        ("daemon0", "detached", |world, name| { world.advance(name, "main", "new", "x"); world.run_git(&world.clone_of(name), &["checkout", "-q", "--detach"]); }),
        ("daemon1", "no upstream", |world, name| { world.run_git(&world.clone_of(name), &["checkout", "-q", "-b", "mine"]); }),
        ("daemon2", "updated", |world, name| { world.run_git(&world.clone_of(name), &["checkout", "-q", "dev"]); world.advance(name, "dev", "new", "x"); }),
        ("daemon3", "no upstream", |world, name| {
            world.run_git(&world.clone_of(name), &["checkout", "-q", "dev"]);
            world.run_git(&world.path("work").join(name), &["push", "-q", "origin", ":dev"]);
        }),
        ("daemon4", "unfinished", |world, name| conflict(world, name, "merge")),
        ("daemon5", "unfinished", |world, name| conflict(world, name, "rebase")),
        ("daemon6", "failed", |world, _| fs::rename(world.path("projects/daemon6.git"), world.path("projects/away.git")).unwrap()),
        ("daemon7", "updated", |world, name| { world.advance(name, "main", "a", "x"); world.advance(name, "main", "b", "x"); }),
        ("local0", "in the way", |world, name| fs::remove_dir_all(world.clone_of(name).join(".git")).unwrap()),
        ("local1", "missing", |world, name| fs::remove_dir_all(world.clone_of(name)).unwrap()),
        ("local2", "updated", |world, name| {
            world.advance(name, "main", "new", "x");
            // Programs of the repository: none of them may run.
            let clone = world.clone_of(name);
            let trap = format!("#!/bin/sh\ntouch '{}'\n", world.path("trapped").display());
            for hook in ["post-merge", "post-checkout", "pre-merge-commit", "reference-transaction"] {
                let path = clone.join(".git/hooks").join(hook);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &trap).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            let hook = clone.join(".git/hooks/post-merge");
            world.run_git(&clone, &["config", "core.fsmonitor", hook.to_str().unwrap()]);
        }),
        ("moved", "moved tag", |world, name| {
            let work = world.path("work").join(name);
            world.run_git(&work, &["tag", "--force", "v1", "main"]);
            world.run_git(&work, &["push", "-q", "--force", "origin", "v1"]);
        }),
        ("elsewhere", "other origin", |_, _| {}),
        ("on-dev", "updated", |world, _| world.advance("web0", "dev", "new", "x")),
        ("on-feature", "updated", |world, name| { world.run_git(&world.clone_of(name), &["checkout", "-q", "main"]); }),
        ("on-tag", "up to date", |_, _| {}),
        ("on-commit", "detached", |world, name| {
            let clone = world.clone_of(name);
            fs::write(clone.join("mine"), "x").unwrap();
            world.run_git(&clone, &["add", "mine"]);
            world.run_git(&clone, &["commit", "-qm", "on no branch"]);
        }),
        ("with-sub", "dirty", |world, name| fs::write(world.clone_of(name).join("sub/file"), "mine").unwrap()),
        ("empty", "up to date", |_, _| {}),
    ];
    let mut list = String::new();
    for (name, _, _) in cases {
        let line = match *name {
            "on-dev" => format!("{}@dev on-dev", http.url("ok/web0.git")),
            "on-feature" => format!("{}@feature/x on-feature", http.url("ok/web0.git")),
            "on-tag" => format!("{}@v1 on-tag", http.url("ok/web0.git")),
            "on-commit" => format!("{}@v1 on-commit", http.url("ok/web0.git")),
            name if name.starts_with("daemon") => daemon.url(name),
            name if name.starts_with("local") => name.to_owned(),
            "moved" => format!("{}@v1 moved", daemon.url("moved")),
            "elsewhere" => format!("{} elsewhere", http.url("ok/web1.git")),
            name => http.url(&format!("ok/{name}.git")),
        };
        writeln!(list, "{line}").unwrap();
    }
    let mut before = Vec::new();
    for (name, _, change) in cases {
        change(world, name);
        if world.clone_of(name).join(".git").exists() && *name != "empty" {
            before.push((*name, world.remembered(name)));
        }
    }
    let entries = world.entries(&list);
    let outcomes = world.all(&entries, LONG, pull);
    assert!(
        !world.path("trapped").exists(),
        "a program of the repository was run"
    );
    for (name, state, _) in cases {
        assert_eq!(outcomes[*name].state, *state, "{:?}", outcomes[*name]);
        let fine = matches!(*state, "up to date" | "updated" | "ahead" | "missing");
        assert_eq!(outcomes[*name].failed, !fine, "{:?}", outcomes[*name]);
    }
    for (name, (commits, files)) in before {
        let (commits_now, files_now) = world.remembered(name);
        assert!(commits.is_subset(&commits_now), "{name} lost commits");
        if outcomes[name].state == "updated" {
            // What git knew moved on; what it did not know is as it was.
            let other = world.clone_of(name).join("other");
            assert_eq!(files.get(&other), files_now.get(&other));
            git(world, name, &["diff", "--quiet", "HEAD"]);
        } else {
            assert_eq!(files, files_now, "{name}");
        }
    }
    assert_eq!(
        fs::read_to_string(world.clone_of("on-feature").join("file")).unwrap(),
        "web0 feature\n"
    );
    // What was rewritten stays so until somebody decides.
    let again = world.all(&world.entries(&http.url("ok/web8.git")), LONG, pull);
    assert_eq!(again["web8"].state, "rewritten", "{again:?}");
    // A submodule moves with what it belongs to.
    git(world, "with-sub", &["-C", "sub", "checkout", "-q", "file"]);
    let work = world.path("work/with-sub");
    world.run_git(
        &work.join("sub"),
        &[
            "pull",
            "-q",
            "--no-rebase",
            &http.url("ok/web1.git"),
            "main",
        ],
    );
    world.run_git(&work, &["commit", "-qam", "newer submodule"]);
    world.run_git(&work, &["push", "-q", "origin", "main"]);
    let outcomes = world.all(&world.entries(&http.url("ok/with-sub.git")), LONG, pull);
    assert_eq!(outcomes["with-sub"].state, "updated", "{outcomes:?}");
    assert!(world.clone_of("with-sub/sub").join("new").exists());

    let listed = world.entries("web6\nweb2\nweb5\nlocal1\n");
    let all = names(&listed, &world.repos());
    let see = |name: &str| {
        let (name, entry) = all.iter().find(|(other, _)| other == name).unwrap();
        look(&world.git, name, entry.as_ref(), &world.repos())
    };
    assert_eq!((see("web6").ahead, see("web6").behind), (Some(1), Some(0)));
    assert_eq!((see("web2").changed, see("web2").behind), (1, Some(0)));
    assert_eq!(see("web5").untracked, 1);
    assert!(!see("local1").cloned && see("local1").listed);
    assert!(!see("daemon0").listed && see("daemon0").branch.is_none());
}

fn own_commit(world: &World, name: &str) {
    let clone = world.clone_of(name);
    fs::write(clone.join("mine"), "x").unwrap();
    world.run_git(&clone, &["add", "mine"]);
    world.run_git(&clone, &["commit", "-qm", "mine"]);
}

/// Leaves a merge or a rebase in the middle.
fn conflict(world: &World, name: &str, what: &str) {
    let clone = world.clone_of(name);
    fs::write(clone.join("file"), "mine").unwrap();
    world.run_git(&clone, &["commit", "-qam", "mine"]);
    let output = std::process::Command::new("git")
        .args([what, "origin/dev"])
        .current_dir(&clone)
        .env("HOME", world.path("home"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(!output.status.success());
}

/// Servers that take their time do so side by side.
#[test]
fn a_pull_takes_as_long_as_the_slowest_server() {
    let world = World::new();
    let delay = Duration::from_millis(300);
    let servers: Vec<Http> = (0..6)
        .map(|_| Http::new(&world.path("projects"), delay))
        .collect();
    world.project("p");
    let mut list = String::new();
    for (number, server) in servers.iter().enumerate() {
        for part in 0..2 {
            writeln!(list, "{} p{number}-{part}", server.url("slow/p.git")).unwrap();
        }
    }
    let entries = world.entries(&list);
    let outcomes = world.all(&entries, LONG, clone);
    assert!(
        outcomes.values().all(|outcome| !outcome.failed),
        "{outcomes:?}"
    );
    let time = |entries: &[mibe_home::repos::Entry]| {
        let start = Instant::now();
        let outcomes = world.all(entries, LONG, pull);
        assert!(
            outcomes.values().all(|outcome| !outcome.failed),
            "{outcomes:?}"
        );
        start.elapsed()
    };
    let one = time(&entries[..2]);
    let six = time(&entries);
    assert!(six < one * 3, "one server took {one:?}, six took {six:?}");
}
