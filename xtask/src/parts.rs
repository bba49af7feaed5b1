//! The real programs that the tests hold mibe against, and how they come onto the machine.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Context, Failure};
use crate::project::{find_program, is_root};

/// What shows that a package is there.
enum Sign {
    /// A program is found.
    Program(&'static str),
    /// A file exists.
    File(&'static str),
    /// The C compiler finds a header.
    Header(&'static str),
}

/// A Debian package that the tests need.
struct Part {
    package: &'static str,
    sign: Sign,
    why: &'static str,
}

/// To add one: a line here. `why` is what a user reads before it is installed.
///
/// What is there is found by its programs and not by its package, because people have Node.js, Python
/// and compilers from other sources too.
#[rustfmt::skip]
const PARTS: &[Part] = &[
    Part { package: "gcc", sign: Sign::Program("gcc"), why: "compiles the oracle" },
    Part { package: "libc6-dev", sign: Sign::Header("stdio.h"), why: "compiles the oracle" },
    Part { package: "libssl-dev", sign: Sign::Header("openssl/evp.h"), why: "the oracle's digests" },
    Part { package: "debian-archive-keyring", sign: Sign::File("/usr/share/keyrings/debian-archive-keyring.gpg"), why: "the keys that Debian's archives are checked with, for the oracle and for bases" },
    Part { package: "ca-certificates", sign: Sign::File("/etc/ssl/certs/ca-certificates.crt"), why: "https to mirrors and to the npm registry" },
    Part { package: "uidmap", sign: Sign::Program("newuidmap"), why: "the sandbox of an ordinary user with subuid ranges" },
    Part { package: "passwd", sign: Sign::Program("useradd"), why: "makes the ordinary user that the end-to-end tests build as" },
    Part { package: "gnupg", sign: Sign::Program("gpg"), why: "signs the archives of the signature tests, right and wrong" },
    Part { package: "gpgv", sign: Sign::Program("gpgv"), why: "the second opinion in the signature tests" },
    Part { package: "busybox-static", sign: Sign::Program("busybox"), why: "a root file system in one file, for the sandbox's tests" },
    Part { package: "gzip", sign: Sign::Program("gzip"), why: "reads our .gz files, and the benchmarks' rival" },
    Part { package: "pigz", sign: Sign::Program("pigz"), why: "reads our .gz files, and the benchmarks' rival" },
    Part { package: "python3", sign: Sign::Program("python3"), why: "reads our .gz files with Python's zlib" },
    Part { package: "nodejs", sign: Sign::Program("node"), why: "reads our .gz files with Node's zlib; runs imgmanifest" },
    Part { package: "npm", sign: Sign::Program("npm"), why: "fetches imgmanifest, the reference rules for image manifests" },
    Part { package: "xz-utils", sign: Sign::Program("xz"), why: "makes bases of every compression" },
    Part { package: "bzip2", sign: Sign::Program("bzip2"), why: "makes bases of every compression" },
    Part { package: "zstd", sign: Sign::Program("zstd"), why: "makes bases of every compression" },
    Part { package: "libarchive-tools", sign: Sign::Program("bsdtar"), why: "the second opinion on tar archives, beside GNU tar" },
    Part { package: "dpkg", sign: Sign::Program("dpkg-deb"), why: "makes packages for archives of the tests; says which version is newer" },
    Part { package: "rpm", sign: Sign::Program("rpmbuild"), why: "makes packages and the database that they are in" },
    Part { package: "db5.3-util", sign: Sign::Program("db5.3_load"), why: "makes the database that older rpms keep" },
    Part { package: "git", sign: Sign::Program("git"), why: "clones and serves the repositories of the tests" },
    Part { package: "openssh-server", sign: Sign::File("/usr/sbin/sshd"), why: "the host that commands are run on through ssh" },
    Part { package: "openssh-client", sign: Sign::Program("ssh"), why: "reaches that host" },
    Part { package: "openssl", sign: Sign::Program("openssl"), why: "certificates for the server's TLS, and the second opinion on it" },
    Part { package: "nginx-light", sign: Sign::Program("nginx"), why: "serves published folders, and is the rival of the server's benchmark" },
    Part { package: "chromium", sign: Sign::Program("chromium"), why: "looks at the server's pages as people do" },
    Part { package: "qemu-utils", sign: Sign::Program("qemu-img"), why: "makes disks of every format, and reads those that mibe does not" },
    Part { package: "e2fsprogs", sign: Sign::Program("debugfs"), why: "changes the guest's files, and checks what became of them" },
    Part { package: "libcap2-bin", sign: Sign::Program("setcap"), why: "files with capabilities for those file systems" },
    Part { package: "attr", sign: Sign::Program("setfattr"), why: "files with attributes for those file systems" },
    Part { package: "gdisk", sign: Sign::Program("sgdisk"), why: "makes and verifies partition tables" },
    Part { package: "fdisk", sign: Sign::Program("sfdisk"), why: "makes older partition tables" },
    Part { package: "dosfstools", sign: Sign::Program("mkfs.fat"), why: "makes EFI system partitions" },
    Part { package: "mtools", sign: Sign::Program("mcopy"), why: "fills them" },
    Part { package: "tar", sign: Sign::Program("tar"), why: "makes and reads archives of every kind" },
    Part { package: "shellcheck", sign: Sign::Program("shellcheck"), why: "checks the scripts that go into images" },
];

/// What only long tests and benchmarks need: these are large.
#[rustfmt::skip]
const SLOW: &[Part] = &[
    Part { package: "mmdebstrap", sign: Sign::Program("mmdebstrap"), why: "makes a cloud disk of Debian's packages" },
    Part { package: "grub-common", sign: Sign::Program("grub-mkimage"), why: "has that disk boot" },
    Part { package: "grub-pc-bin", sign: Sign::File("/usr/lib/grub/i386-pc/boot.img"), why: "has that disk boot by BIOS" },
    Part { package: "grub-efi-amd64-bin", sign: Sign::File("/usr/lib/grub/x86_64-efi/modinfo.sh"), why: "has that disk boot by UEFI" },
    Part { package: "qemu-system-x86", sign: Sign::Program("qemu-system-x86_64"), why: "boots the image of that disk" },
    Part { package: "ovmf", sign: Sign::File("/usr/share/ovmf/OVMF.fd"), why: "has it boot by UEFI" },
];

/// Installs those that the tests need and lack; `slow`: the long ones too.
pub fn ensure_all(slow: bool) -> Result<(), Failure> {
    let more = if slow { SLOW } else { &[] };
    ensure(PARTS.iter().chain(more))
}

/// Installs those of the named packages that are missing; each must be in a table.
pub fn ensure_some(packages: &[&str]) -> Result<(), Failure> {
    ensure(
        PARTS
            .iter()
            .chain(SLOW)
            .filter(|part| packages.contains(&part.package)),
    )
}

fn ensure(parts: impl Iterator<Item = &'static Part>) -> Result<(), Failure> {
    let missing: Vec<&Part> = parts.filter(|part| !is_there(&part.sign)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let table: Vec<String> = missing
        .iter()
        .map(|part| format!("  {:24} {}", part.package, part.why))
        .collect();
    let table = table.join("\n");
    let names: Vec<&str> = missing.iter().map(|part| part.package).collect();
    let line = format!(
        "apt-get install -y --no-install-recommends {}",
        names.join(" ")
    );
    if find_program("apt-get").is_none() {
        return Err(Failure::machine(format!(
            "the tests need these Debian packages, or what other distributions call them, and there is \
             no apt-get here to install them with:\n{table}"
        )));
    }
    if !is_root() {
        return Err(Failure::machine(format!(
            "the tests need these packages, which only root can install:\n{table}\nRun this, then try \
             again:\n\n  sudo apt-get update && sudo {line}"
        )));
    }
    println!("xtask: installing what the tests need and this machine lacks:\n{table}");
    apt(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&names);
    apt(&arguments)?;
    match missing.iter().find(|part| !is_there(&part.sign)) {
        None => Ok(()),
        Some(part) => Err(Failure::machine(format!(
            "{} was installed, yet {} is still not found",
            part.package,
            describe(&part.sign)
        ))),
    }
}

/// Runs apt-get, whose hundreds of lines are shown only when it fails.
fn apt(arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"])
        .args(arguments);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    let output = command
        .output()
        .context(|| "can't start apt-get".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    eprint!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Err(Failure::machine(format!(
        "apt-get {} failed ({}); its words are above",
        arguments.join(" "),
        output.status
    )))
}

fn is_there(sign: &Sign) -> bool {
    match sign {
        Sign::Program(name) => find_program(name).is_some(),
        Sign::File(path) => Path::new(path).exists(),
        Sign::Header(name) => has_header(name),
    }
}

/// Debian keeps some headers in a directory of the architecture, which the compiler knows.
fn has_header(name: &str) -> bool {
    let plain = Path::new("/usr/include").join(name);
    if plain.exists() {
        return true;
    }
    let Ok(output) = Command::new("gcc").arg("-print-multiarch").output() else {
        return false;
    };
    let multiarch = String::from_utf8_lossy(&output.stdout);
    Path::new("/usr/include")
        .join(multiarch.trim())
        .join(name)
        .exists()
}

fn describe(sign: &Sign) -> String {
    match sign {
        Sign::Program(name) => format!("the program {name}"),
        Sign::File(path) => (*path).to_owned(),
        Sign::Header(name) => format!("the header <{name}>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_once_and_sorted_out_by_apt() {
        let mut names: Vec<&str> = PARTS.iter().chain(SLOW).map(|part| part.package).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(all, names.len());
        assert!(names.iter().all(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        }));
    }

    #[test]
    fn what_is_not_there_is_seen() {
        assert!(!is_there(&Sign::Program("no-such-program-anywhere")));
        assert!(!is_there(&Sign::Header("no-such-header.h")));
        assert!(is_there(&Sign::Program("sh")));
    }
}
