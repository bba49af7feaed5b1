//! The same tree from every mode: what is expected here is what real root gets.

use std::path::Path;

use mibe_sandbox::{Mode, Outcome};

use crate::Case;
use crate::jobs::{furnished, job, listing, sh};

pub const CASES: &[Case] = &[
    ("tree", tree),
    ("job-tree", job_tree),
    ("links", links),
    ("users", users),
];

const SCRIPT: &str = "
set -e
mkdir /w; cd /w
touch f; chown 5:6 f
touch s; chmod 6755 s; chown 7:8 s
touch g; chmod 2644 g; chown 7:8 g
touch t; chown 1:1 t; chmod 4711 t
mknod c c 1 3; mknod b b 8 1; chown 3:4 b; chmod 660 b; mkfifo p; chown 9:9 p
umask 077; mkdir um; touch um/f; mknod um/c c 5 1; umask 022
mkdir d; chown 0:50 d; chmod 2775 d
touch d/f; mkdir d/d; echo x > d/d/f; ln -s x d/l; mkfifo d/p; mknod d/c c 1 1
cp -a d d2
mkdir d3; tar c d f b p | tar x -C d3
cp f inst; chown 12:13 inst; chmod 4755 inst; mkdir dir; chmod 1770 dir; chown 14:15 dir
touch back; chown 1:2 back; chown 0:0 back; touch half; chown 5 half; chown :6 half
touch 'a b'; chown 1 'a b'; ln 'a b' hard
";

const EXPECTED: &[&str] = &[
    "/w/a b - 0644 1:0",
    "/w/b b 0660 3:4 8,1",
    "/w/back - 0644 0:0",
    "/w/c c 0644 0:0 1,3",
    "/w/d d 2775 0:50",
    "/w/d/c c 0644 0:50 1,1",
    "/w/d/d d 2755 0:50",
    "/w/d/d/f - 0644 0:50",
    "/w/d/f - 0644 0:50",
    "/w/d/l l 0777 0:50 > x",
    "/w/d/p p 0644 0:50",
    "/w/d2 d 2775 0:50",
    "/w/d2/c c 0644 0:50 1,1",
    "/w/d2/d d 2755 0:50",
    "/w/d2/d/f - 0644 0:50",
    "/w/d2/f - 0644 0:50",
    "/w/d2/l l 0777 0:50 > x",
    "/w/d2/p p 0644 0:50",
    "/w/d3 d 0755 0:0",
    "/w/d3/b b 0660 3:4 8,1",
    "/w/d3/d d 2775 0:50",
    "/w/d3/d/c c 0644 0:50 1,1",
    "/w/d3/d/d d 2755 0:50",
    "/w/d3/d/d/f - 0644 0:50",
    "/w/d3/d/f - 0644 0:50",
    "/w/d3/d/l l 0777 0:50 > x",
    "/w/d3/d/p p 0644 0:50",
    "/w/d3/f - 0644 5:6",
    "/w/d3/p p 0644 9:9",
    "/w/dir d 1770 14:15",
    "/w/f - 0644 5:6",
    "/w/g - 2644 7:8",
    "/w/half - 0644 5:6",
    "/w/hard - 0644 1:0",
    "/w/inst - 4755 12:13",
    "/w/p p 0644 9:9",
    "/w/s - 0755 7:8",
    "/w/t - 4711 1:1",
    "/w/um d 0700 0:0",
    "/w/um/c c 0600 0:0 5,1",
    "/w/um/f - 0600 0:0",
];

fn same(listing: &[String], expected: &[&str]) {
    for line in listing {
        assert!(expected.contains(&line.as_str()), "unexpected: {line}");
    }
    for line in expected {
        assert!(listing.iter().any(|l| l == line), "missing: {line}");
    }
}

fn tree(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    // Placeholders of mode subuid look like files from inside; copies of them made there are files.
    let script = match mode {
        Mode::Subuid => SCRIPT.replace("cp -a d d2", "cp -a d d2; rm d2/c; mknod d2/c c 1 1; chown 0:50 d2/c").replace(
            "-C d3",
            "-C d3; rm d3/b d3/d/c; mknod d3/b b 8 1; chown 3:4 d3/b; chmod 660 d3/b; mknod d3/d/c c 1 1; chown 0:50 d3/d/c",
        ),
        _ => SCRIPT.to_owned(),
    };
    let (outcome, output) = sh(&sandbox, &script);
    assert_eq!(outcome, Outcome::Exited(0), "{output}");
    same(&listing(&sandbox, "/w"), EXPECTED);
    if mode != Mode::Subuid {
        let (_, inside) = sh(
            &sandbox,
            "cd /w; stat -c '%a %u:%g %t,%T %F' f t b p d/l d/c dir; id -u; test -c c && test -b b && echo devices",
        );
        let seen = "644 5:6 0,0 regular empty file\n4711 1:1 0,0 regular empty file\n660 3:4 8,1 block special file\n\
                    644 9:9 0,0 fifo\n777 0:50 0,0 symbolic link\n644 0:50 1,1 character special file\n\
                    1770 14:15 0,0 directory\n0\ndevices\n";
        assert_eq!(inside, seen);
    }
    sandbox.destroy().unwrap();
}

fn job_tree(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    job(&sandbox, "build");
    let expected = [
        "/w/b b 0640 0:6 259,70000",
        "/w/c c 0666 0:0 1,300",
        "/w/d d 2770 0:1003",
        "/w/d/e - 6711 0:0",
        "/w/d/f - 4755 0:0",
        "/w/d/sub d 0700 0:0",
        "/w/e - 6711 11:12",
        "/w/l2 l 0777 6:7 > d",
        "/w/l3 l 0777 6:7 > d",
        "/w/p p 0622 4:5",
        "/w/s - 0755 8:8",
    ];
    same(&listing(&sandbox, "/w"), &expected);
    let (_, inside) = sh(&sandbox, "cd /w; stat -c '%a %u:%g' d d/f l2 l3 p s");
    assert_eq!(
        inside,
        "2770 0:1003\n4755 0:0\n777 6:7\n777 6:7\n622 4:5\n755 8:8\n"
    );
    sandbox.destroy().unwrap();
}

/// Owners of symlinks and fifos survive renames and runs, and never pass to another inode of the same number.
fn links(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    let (outcome, output) = sh(
        &sandbox,
        "set -e; mkdir /w; cd /w; ln -s x keep; chown -h 5:6 keep
         for i in $(busybox seq 200); do ln -s x l; chown -h 7:8 l; rm l; ln -s y m$i; done
         for i in $(busybox seq 50); do mkfifo l; chown 7:8 l; rm l; ln -s y n$i; done
         mv keep kept; ln kept kept2",
    );
    assert_eq!(outcome, Outcome::Exited(0), "{output}");
    let (_, output) = sh(
        &sandbox,
        "cd /w; mv kept kept3; busybox stat -c '%u:%g' kept3 m1 n50",
    );
    assert_eq!(output, "5:6\n0:0\n0:0\n");
    let lines = listing(&sandbox, "/w");
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains(" 0:0 > y"))
            .count(),
        250
    );
    same(
        &lines[..2],
        &["/w/kept2 l 0777 5:6 > x", "/w/kept3 l 0777 5:6 > x"],
    );
    sandbox.destroy().unwrap();
}

/// A process that has become someone else sees so, and so do its files.
fn users(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    let (outcome, output) = sh(
        &sandbox,
        "mkdir -p /w/home /w/shared; chown u1:u1 /w/home; chown 0:more /w/shared; chmod 2775 /w/shared
         touch /w/roots; ln /bin/busybox /w/home/sh; touch /w/given; chown u1 /w/given
         su -s /bin/sh u1 -c 'id -u; id -g; id -G; cd /w/home; echo a > f; echo b >> f; mkdir d; echo > d/f; ln -s f l; mkfifo p
             umask 077; echo > private; touch ../shared/f; mkdir ../shared/d
             chown 0 f 2>/dev/null || echo refused; chown u1:more f && echo granted; chown u1 ../roots 2>/dev/null || echo refused
             mknod n c 1 3 2>/dev/null || echo refused'
         id -u; echo > /w/home/by-root; cat /w/home/f",
    );
    assert_eq!(outcome, Outcome::Exited(0), "{output}");
    assert_eq!(
        output,
        "1001\n1002\n1002 1003\nrefused\ngranted\nrefused\nrefused\n0\na\nb\n"
    );
    let expected = [
        "/w/given - 0644 1001:0",
        "/w/home d 0755 1001:1002",
        "/w/home/by-root - 0644 0:0",
        "/w/home/d d 0755 1001:1002",
        "/w/home/d/f - 0644 1001:1002",
        "/w/home/f - 0644 1001:1003",
        "/w/home/l l 0777 1001:1002 > f",
        "/w/home/p p 0644 1001:1002",
        "/w/home/private - 0600 1001:1002",
        "/w/home/sh - 0755 0:0",
        "/w/roots - 0644 0:0",
        "/w/shared d 2775 0:1003",
        "/w/shared/d d 2700 1001:1003",
        "/w/shared/f - 0600 1001:1003",
    ];
    same(&listing(&sandbox, "/w"), &expected);
    sandbox.destroy().unwrap();
}
