//! A Debian of the LX kind, with its own su, tar and apt, built upon in a zone: in the global zone and from a machine that has only ssh.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::host::FakeHost;
use crate::sshd::Sshd;
use crate::support::{self, Who, World, customize, minimal, names, receive, succeed};
use serde_json::Value;

const DEBIAN: &str = "11111111-2222-4333-8444-00000000deb1";

/// The host, with the base that mibe bootstraps as an image, and this machine's sources of packages.
fn host(world: &World) -> FakeHost {
    let host = FakeHost::empty();
    let bases = world.home().join(".cache/mibe/bases");
    let archive = names(&bases)
        .into_iter()
        .find(|name| name.contains(".tar"))
        .expect("the base of a first build");
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    succeed(
        Command::new("tar")
            .args(["-x", "-p", "--numeric-owner", "-f"])
            .arg(bases.join(archive))
            .arg("-C")
            .arg(&root),
    );
    for name in [
        "sources.list",
        "sources.list.d",
        "apt.conf.d",
        "trusted.gpg.d",
    ] {
        let from = Path::new("/etc/apt").join(name);
        if from.exists() {
            let to = root.join("etc/apt").join(name);
            let _ = fs::remove_dir_all(&to).or_else(|_| fs::remove_file(&to));
            succeed(Command::new("cp").arg("-a").arg(from).arg(to));
        }
    }
    host.add_image(DEBIAN, "debian-12", "20260101", "lx-dataset", folder.path());
    host.import(DEBIAN);
    host
}

/// A name server that works here, for the zone.
fn resolver() -> String {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("nameserver "))
        .map(str::trim)
        .find(|address| address.parse::<std::net::IpAddr>().is_ok())
        .unwrap_or("127.0.0.1")
        .to_owned()
}

#[test]
fn a_debian_repository_here_and_over_ssh() {
    let world = World::with_base(Who::Root);
    let host = host(&world);
    let before = host.everything();
    world.write_repository(
        "mi-deb",
        &[
            minimal("mi-deb", DEBIAN),
            ("packages", 0o644, "ca-certificates\nnano\n"),
            ("copy/etc/nanorc", 0o644, "set linenumbers\n"),
            ("copy/usr/local/sbin/tool", 0o755, "#!/bin/sh\nexit 0\n"),
            ("motd", 0o644, "%name%\n"),
            customize("command -v nano\ntool\nadduser --disabled-password --gecos '' web\nssh-keygen -V 2>/dev/null || true\n"),
        ],
    );
    let resolver = resolver();
    let common = [
        "build",
        "mi-deb",
        "--builder",
        "smartos",
        "--resolver",
        &resolver,
        "--force",
    ];
    host.mibe(&world, &common).expect(0);
    let image = world.home().join("images/mi-deb-1.0.0.zfs.gz");
    let here = receive(&image);
    assert_eq!(host.everything(), before);

    let sshd = Sshd::with_path(&host.search_path());
    let settings = world.config().join("mibe");
    fs::create_dir_all(&settings).unwrap();
    let config = sshd.path("ssh_config");
    fs::write(
        settings.join("mibe.toml"),
        format!(
            "[smartos]\nssh_arguments = [\"-F\", \"{}\"]\n",
            config.display()
        ),
    )
    .unwrap();
    let ran = world.mibe(&[&common[..], &["--host", "there"]].concat());
    ran.expect(0);
    let there = receive(&image);
    assert_eq!(host.everything(), before);

    for tree in [&here, &there] {
        assert_eq!(tree.what("/root/etc/nanorc"), "f 0644 0:0");
        assert_eq!(tree.what("/root/usr/local/sbin/tool"), "f 0755 0:0");
        assert_eq!(tree.what("/root/home/web"), "d 0700 1000:1000");
        assert_eq!(tree.what("/root/tmp"), "d 1777 0:0");
        assert_eq!(tree.get("/root/bin", "kind"), "l");
        assert!(
            tree.has("/root/usr/bin/nano") && tree.has("/root/etc/ssl/certs/ca-certificates.crt")
        );
        assert!(!tree.has("/root/.mibe") && !tree.has("/root/root/customize"));
    }
    let paths = |tree: &support::Received| tree.entries.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&here), paths(&there));
    let manifest: Value =
        serde_json::from_slice(&fs::read(world.home().join("images/mi-deb-1.0.0.json")).unwrap())
            .unwrap();
    assert_eq!(manifest["type"], "lx-dataset");
    world.assert_nothing_left();
}
