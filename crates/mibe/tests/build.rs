//! Builds with the real program, real Debian packages and real OpenZFS as the judge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that can't go on ends"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Received, Who, World, customize, minimal, names, receive, succeed};

/// `examples/hello-lx` as an ordinary user and as root; returns the image's file.
fn hello(world: &World) -> PathBuf {
    world.repository("examples/hello-lx");
    let ran = world.mibe(&["build", "hello-lx"]).expect(0);
    let line = "imgadm install -m images/hello-lx-1.0.0.json -f images/hello-lx-1.0.0.zfs.gz";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    assert_eq!(
        names(&world.home().join("images")),
        ["hello-lx-1.0.0.json", "hello-lx-1.0.0.zfs.gz"]
    );
    world.assert_nothing_left();
    world.home().join("images/hello-lx-1.0.0.zfs.gz")
}

#[test]
fn hello_lx_is_the_same_image_from_all_three_sandboxes() {
    let worlds = [Who::Root, Who::Subuid, Who::Single].map(World::with_base);
    let files = worlds.each_ref().map(hello);
    let received = receive(&files[0]);
    assert_lx(&received);
    assert_hello(&received);
    assert_manifest(&files[0]);
    let first = fs::read(&files[0]).unwrap();
    for file in &files[1..] {
        if fs::read(file).unwrap() != first {
            explain(&received, &receive(file));
            panic!("{} differs from {}", file.display(), files[0].display());
        }
        assert_eq!(
            fs::read(file.with_extension("").with_extension("json")).unwrap(),
            fs::read(files[0].with_extension("").with_extension("json")).unwrap()
        );
    }
}

/// Prints what differs between two images that should be one.
fn explain(one: &Received, other: &Received) {
    for (path, attributes) in &one.entries {
        match other.entries.get(path) {
            None => println!("only in the first: {path}"),
            Some(others) if others != attributes => {
                println!("{path}:\n  {attributes:?}\n  {others:?}");
            }
            Some(_) => {}
        }
    }
    for path in other.entries.keys().filter(|path| !one.has(path)) {
        println!("only in the second: {path}");
    }
}

/// The points of an LX image, one by one.
fn assert_lx(image: &Received) {
    let directories = [
        ("/", "0700"),
        ("/root", "0755"),
        ("/cores", "0755"),
        ("/root/native/dev", "0755"),
        ("/root/native/etc/default", "0755"),
        ("/root/native/etc/svc/volatile", "0755"),
        ("/root/native/lib", "0755"),
        ("/root/native/proc", "0755"),
        ("/root/native/sbin", "0755"),
        ("/root/native/tmp", "1777"),
        ("/root/native/usr", "0755"),
        ("/root/native/var", "0755"),
        ("/root/var/ld/64", "0755"),
        ("/root/var/svc", "0755"),
        ("/root/var/db", "0755"),
        ("/root/system/object", "0755"),
        ("/root/system/contract", "0755"),
        ("/root/etc/init.d", "0755"),
        ("/root/etc/network", "0755"),
        ("/root/etc/rc0.d", "0755"),
        ("/root/etc/rc6.d", "0755"),
        ("/root/etc/rcS.d", "0755"),
        ("/root/root", "0700"),
        ("/root/tmp", "1777"),
        ("/root/var/tmp", "1777"),
        ("/root/dev", "0755"),
        ("/root/proc", "0755"),
    ];
    for (path, mode) in directories {
        assert_eq!(image.what(path), format!("d {mode} 0:0"), "{path}");
    }
    for path in ["/root/tmp/", "/root/run/", "/root/var/tmp/", "/root/dev/"] {
        let inside: Vec<_> = image
            .entries
            .keys()
            .filter(|name| name.starts_with(path))
            .collect();
        assert!(inside.is_empty(), "{inside:?}");
    }
    let fstab = sha256("none / zfs defaults 1 1\nproc /proc proc defaults 0 0\n");
    assert_eq!(image.get("/root/etc/fstab", "sha256"), fstab);
    for path in [
        "/root/etc/mnttab",
        "/root/etc/resolv.conf",
        "/root/etc/network/interfaces",
        "/root/etc/machine-id",
    ] {
        assert_eq!(image.get(path, "kind"), "f", "{path}");
        assert_eq!(image.get(path, "size"), "0", "{path}");
    }
    assert_eq!(image.get("/root/etc/debian_version", "kind"), "f");
    assert_eq!(
        image.get(
            "/root/etc/systemd/system/systemd-remount-fs.service",
            "target"
        ),
        "/dev/null"
    );
    assert_eq!(
        image.get(
            "/root/etc/systemd/system/systemd-resolved.service",
            "target"
        ),
        "/dev/null"
    );
    assert!(image.has("/root/etc/systemd/system/systemd-logind.service.d/zz-mibe-lx.conf"));
    assert!(image.has("/root/etc/apt/preferences.d/mibe-lx"));
    for unit in ["fstrim.timer", "e2scrub_all.timer"] {
        let path = format!("/root/etc/systemd/system/{unit}");
        assert_eq!(image.get(&path, "target"), "/dev/null", "{path}");
    }
    for (path, what) in [
        ("/root/usr/lib/mibe-guest/boot", "f 0755 0:0"),
        ("/root/usr/lib/mibe-guest/scripts", "f 0755 0:0"),
        ("/root/usr/lib/mibe-guest/lib.sh", "f 0644 0:0"),
        (
            "/root/usr/lib/systemd/system/mibe-guest.service",
            "f 0644 0:0",
        ),
    ] {
        assert_eq!(image.what(path), what, "{path}");
    }
    for name in ["mdata-get", "mdata-put", "mdata-delete", "mdata-list"] {
        let path = format!("/root/usr/sbin/{name}");
        assert_eq!(
            image.get(&path, "target"),
            format!("/native/usr/sbin/{name}")
        );
    }
    let unwanted = [
        "/root/usr/sbin/policy-rc.d",
        "/root/.mibe",
        "/root/root/customize",
        "/root/root/.bash_history",
        "/root/.dockerenv",
        "/root/var/lib/dbus/machine-id",
        "/root/etc/shadow-",
    ];
    for path in unwanted {
        assert!(!image.has(path), "{path}");
    }
    for path in image.entries.keys() {
        assert!(!path.contains("/etc/ssh/ssh_host_"), "{path}");
        assert!(
            !path.starts_with("/root/var/cache/apt/archives/") || image.get(path, "kind") == "d",
            "{path}"
        );
        assert!(
            !path.starts_with("/root/var/lib/apt/lists/") || image.get(path, "kind") == "d",
            "{path}"
        );
        assert!(!path.starts_with("/root/boot/vmlinu"), "{path}");
    }
    // An ownership that only a ledger can keep for a single-uid user, and set-uid and set-gid bits.
    assert_eq!(image.what("/root/usr/bin/passwd"), "f 4755 0:0");
    assert_eq!(image.what("/root/etc/shadow"), "f 0640 0:42");
    assert_eq!(image.what("/root/usr/bin/chage"), "f 2755 0:42");
    let epoch: i64 = support::EPOCH.parse().unwrap();
    for (path, attributes) in &image.entries {
        let seconds: i64 = attributes["mtime"]
            .split('.')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(seconds <= epoch, "{path} is of {seconds}");
    }
}

/// What the example lays in by itself.
fn assert_hello(image: &Received) {
    assert_eq!(image.get("/root/usr/sbin/nginx", "kind"), "f");
    assert_eq!(image.get("/root/etc/product", "kind"), "f");
    assert_eq!(image.get("/root/etc/motd", "kind"), "f");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello-lx");
    for (path, what) in [
        ("etc/nginx/sites-available/hello", "f 0644 0:0"),
        ("usr/local/sbin/hello-page", "f 0755 0:0"),
        ("etc/systemd/system/hello-page.service", "f 0644 0:0"),
    ] {
        let inside = format!("/root/{path}");
        assert_eq!(image.what(&inside), what, "{path}");
        let text = fs::read_to_string(repository.join("copy").join(path)).unwrap();
        assert_eq!(image.get(&inside, "sha256"), sha256(&text), "{path}");
    }
    // What customize did.
    assert_eq!(
        image.get("/root/etc/nginx/sites-enabled/hello", "target"),
        "../sites-available/hello"
    );
    assert!(!image.has("/root/etc/nginx/sites-enabled/default"));
    for unit in ["hello-page", "nginx", "mibe-guest", "mibe-guest-scripts"] {
        let etc = format!("/root/etc/systemd/system/multi-user.target.wants/{unit}.service");
        let usr = format!("/root/usr/lib/systemd/system/multi-user.target.wants/{unit}.service");
        assert!(image.has(&etc) || image.has(&usr), "{unit} is not enabled");
    }
}

fn assert_manifest(file: &Path) {
    let path = file.with_extension("").with_extension("json");
    support::assert_takes_imgmanifest(&path);
    let text = fs::read_to_string(path).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest["v"], 2);
    assert_eq!(manifest["name"], "hello-lx");
    assert_eq!(manifest["version"], "1.0.0");
    assert_eq!(manifest["type"], "lx-dataset");
    assert_eq!(manifest["os"], "linux");
    assert_eq!(manifest["requirements"]["brand"], "lx");
    assert!(manifest["requirements"]["min_platform"]["7.0"].is_string());
    assert_eq!(manifest["requirements"]["networks"][0]["name"], "net0");
    assert!(manifest["tags"]["kernel_version"].is_string());
    assert_eq!(manifest["users"][0]["name"], "root");
    let described = &manifest["files"][0];
    assert_eq!(described["compression"], "gzip");
    assert_eq!(described["size"], fs::metadata(file).unwrap().len());
    let sha1 = succeed(Command::new("sha1sum").arg(file));
    assert_eq!(described["sha1"], sha1.split(' ').next().unwrap());
    let dump = succeed(Command::new("sh").arg("-c").arg(format!(
        "gzip -dc <'{}' | head -c 312 | od -An -t u8 -j 40 -N 8",
        file.display()
    )));
    assert_eq!(
        described["dataset_guid"],
        dump.trim(),
        "the guid of the stream's first record"
    );
}

fn sha256(text: &str) -> String {
    let mut command = Command::new("sha256sum");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn a_user_with_nothing_bootstraps_a_base_of_its_own() {
    let world = World::new(Who::Single);
    world.write_repository(
        "first",
        &[minimal("first", "debian:bookworm"), customize("exit 0\n")],
    );
    world.mibe(&["build", "first"]).expect(0);
    let root = World::with_base(Who::Root);
    let bases = |world: &World| {
        let folder = world.home().join(".cache/mibe/bases");
        let archive = names(&folder)
            .into_iter()
            .find(|name| Path::new(name).extension().is_some_and(|e| e == "tar"))
            .unwrap();
        let sum = succeed(Command::new("sha256sum").arg(folder.join(&archive)));
        (archive, sum[..64].to_owned())
    };
    assert_eq!(
        bases(&world),
        bases(&root),
        "the base is the same whoever bootstraps it"
    );
    world.assert_nothing_left();
}

#[test]
fn scripts_of_the_shell_mibe_remove_themselves_and_all_around_them() {
    let world = World::with_base(Who::Single);
    world.write_repository(
        "tidy",
        &[
            (
                "manifest",
                0o644,
                "name=\"tidy\"\nversion=\"1.0.0\"\nbase=\"debian:bookworm\"\ndescription=\"A test\"\n\
                 homepage=\"https://example.org\"\nusers=\"root admin\"\nminram=\"256\"\nlbaas=\"true\"\n\
                 urn=\"example:tidy:1.0.0\"\nownername=\"somebody\"\n\
                 restricted_to_uuid=\"3c3b2d4e-0000-4000-8000-000000000000\"\n",
            ),
            ("motd", 0o644, "%name% %version% %HOSTNAME% ─ \n"),
            ("copy/tmp/manifest.xml", 0o644, "x"),
            ("copy/etc/of $name/a file", 0o664, "y"),
            customize(
                "test \"$(pwd)\" = /root\ntest -x /root/customize\ntest -f /tmp/manifest.xml\n\
                 touch /root/.profile-of-ours /root/leftover\n\
                 case $(uname -m) in x86_64) nr=188 ;; *) nr=5 ;; esac # setxattr(2)\n\
                 nr=$nr perl -e 'my ($p, $n, $v) = (q(/root/.profile-of-ours), q(user.note), q(hello)); \
                 syscall($ENV{nr} + 0, $p, $n, $v, 5, 0) == 0 or die'\nrm -rf /root/*\nrm -f /root/customize\n\
                 mkdir /root/customize\nsystemctl start nothing.service\n",
            ),
        ],
    );
    world
        .mibe(&["build", "tidy"])
        .expect(0)
        .says("ownername is left out");
    let text = fs::read_to_string(world.home().join("images/tidy-1.0.0.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest["public"], false);
    assert_eq!(
        manifest["acl"],
        serde_json::json!(["3c3b2d4e-0000-4000-8000-000000000000"])
    );
    assert_eq!(manifest["tags"]["lbaas"], true);
    assert_eq!(manifest["urn"], "example:tidy:1.0.0");
    assert_eq!(manifest["users"][1]["name"], "admin");
    assert_eq!(manifest["requirements"]["min_ram"], 256);
    let image = receive(&world.home().join("images/tidy-1.0.0.zfs.gz"));
    assert!(image.has("/root/root/.profile-of-ours"));
    assert_eq!(
        image.get("/root/root/.profile-of-ours<xattr>/user.note", "sha256"),
        sha256("hello")
    );
    assert!(!image.has("/root/root/leftover"));
    assert!(!image.has("/root/root/customize"));
    assert!(!image.has("/root/tmp/manifest.xml"));
    assert_eq!(image.what(r"/root/etc/of\x20$name/a\x20file"), "f 0644 0:0");
    assert_eq!(
        image.get("/root/etc/motd", "sha256"),
        sha256("tidy 1.0.0 %HOSTNAME% ─ \n")
    );
    world.assert_nothing_left();
}

#[test]
fn without_network_there_is_none() {
    let world = World::with_base(Who::Single);
    world.write_repository(
        "lonely",
        &[
            minimal("lonely", "debian:bookworm"),
            // One line, of headings, and no address but perhaps the loopback's.
            customize(
                "wc -l </proc/net/route | grep -qx 1\n\
                 perl -MIO::Socket::INET -e 'exit(IO::Socket::INET->new(PeerAddr => \"192.0.2.1:9\", Timeout => 5) \
                 || $! !~ /unreachable/ ? 1 : 0)'\n",
            ),
        ],
    );
    // The base is at hand, so that not even the mirror is needed.
    let offline = ["--mirror", "http://127.0.0.1:1/debian", "--network", "none"];
    let arguments = [&["build"][..], &offline, &["lonely"]].concat();
    world
        .mibe(&arguments)
        .expect(0)
        .says("the mirror can't be asked for news");
    let world = World::new(Who::Single);
    world.write_repository(
        "lonely",
        &[minimal("lonely", "debian:bookworm"), customize("exit 0\n")],
    );
    world
        .mibe(&arguments)
        .expect(1)
        .says("http://127.0.0.1:1/debian")
        .says("--mirror");
    world.assert_nothing_left();
}

#[test]
fn resolvers_serve_the_build_and_stay_out_of_the_image() {
    let world = World::with_base(Who::Single);
    world.write_repository(
        "resolve",
        &[
            minimal("resolve", "debian:bookworm"),
            customize("grep -qx 'nameserver 192.0.2.7' /etc/resolv.conf\n"),
        ],
    );
    world
        .mibe(&["build", "--resolver", "192.0.2.7", "resolve"])
        .expect(0);
    let image = receive(&world.home().join("images/resolve-1.0.0.zfs.gz"));
    assert_eq!(image.get("/root/etc/resolv.conf", "size"), "0");
}

#[test]
fn a_directory_and_archives_of_every_kind_are_bases() {
    let world = World::with_base(Who::Root);
    let bases = world.home().join(".cache/mibe/bases");
    let tar = names(&bases)
        .into_iter()
        .find(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "tar")
        })
        .unwrap();
    let tree = world.home().join("tree");
    fs::create_dir(&tree).unwrap();
    succeed(
        Command::new("tar")
            .arg("-xpf")
            .arg(bases.join(&tar))
            .arg("-C")
            .arg(&tree),
    );
    for (name, flag) in [
        ("base.tar", ""),
        ("base.tar.gz", "-z"),
        ("base.tar.xz", "-J"),
        ("base.tar.zst", "--zstd"),
    ] {
        let mut command = Command::new("tar");
        command.env("XZ_OPT", "-0").arg("--numeric-owner");
        if !flag.is_empty() {
            command.arg(flag);
        }
        succeed(
            command
                .arg("-cf")
                .arg(world.home().join(name))
                .arg("-C")
                .arg(&tree)
                .arg("."),
        );
    }
    let mut images = Vec::new();
    for base in [
        "tree",
        "base.tar",
        "base.tar.gz",
        "base.tar.xz",
        "base.tar.zst",
    ] {
        world.write_repository(
            "based",
            &[
                minimal("based", &format!("../{base}")),
                customize("exit 0\n"),
            ],
        );
        world.mibe(&["build", "--force", "based"]).expect(0);
        let image = receive(&world.home().join("images/based-1.0.0.zfs.gz"));
        assert_lx(&image);
        images.push(image);
    }
    for image in &images[1..] {
        let product = "/root/etc/product";
        let trees = [&images[0], image].map(|image| {
            let mut entries = image.entries.clone();
            // It names the base.
            entries.remove(product);
            entries
        });
        assert!(
            trees[0] == trees[1],
            "bases of one tree give the same image"
        );
    }
    world.assert_nothing_left();
}
