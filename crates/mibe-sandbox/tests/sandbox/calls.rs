//! System calls made by programs of a few bytes: refused instruction sets and attributes.

use std::path::Path;

use mibe_sandbox::{Command, Mode, Outcome, Sandbox};

use crate::jobs::{furnished, run, sh};

/// Where programs are loaded.
const BASE: u64 = 0x40_0000;
/// ELF header and one program header.
const HEADERS: u64 = 120;

/// A static program: the code, then data.
fn elf(code: &[u8], data: &[u8]) -> Vec<u8> {
    let mut elf = vec![
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0,
    ];
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([
        0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0,
    ]);
    let length = HEADERS + (code.len() + data.len()) as u64;
    for word in [0, BASE, BASE, length, length, 4096] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf.extend(data);
    elf
}

const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// neg eax; mov edi, eax; mov eax, 60; syscall: exits with the negated answer.
const EXIT: [u8; 11] = [0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];

/// The negated answer of one call without arguments.
fn bare(sandbox: &Sandbox, number: u32, instruction: [u8; 2]) -> Outcome {
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes());
    code.extend(instruction);
    code.extend(EXIT);
    execute(sandbox, &elf(&code, b""))
}

/// The negated answer of `setxattr("/f", name, "x", 1, 0)`.
fn set_attribute(sandbox: &Sandbox, name: &str) -> Outcome {
    // mov eax, 188; mov edi, path; mov esi, name; mov edx, value; mov r10d, 1; xor r8d, r8d; syscall
    let length = 5 * 4 + 6 + 3 + 2 + EXIT.len();
    let data_at = (BASE + HEADERS) as u32 + length as u32;
    let mut code = vec![0xb8, 188, 0, 0, 0];
    for (register, offset) in [(0xbf, 0u32), (0xbe, 5), (0xba, 3)] {
        code.push(register);
        code.extend((data_at + offset).to_le_bytes());
    }
    code.extend([0x41, 0xba, 1, 0, 0, 0, 0x45, 0x31, 0xc0, 0x0f, 0x05]);
    code.extend(EXIT);
    assert_eq!(code.len(), length);
    execute(sandbox, &elf(&code, format!("/f\0x\0{name}\0").as_bytes()))
}

fn execute(sandbox: &Sandbox, elf: &[u8]) -> Outcome {
    let octal: String = elf.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let (outcome, output) = sh(
        sandbox,
        &format!("printf '{octal}' > /program; chmod 755 /program; touch /f"),
    );
    assert_eq!(outcome, Outcome::Exited(0), "{output}");
    run(sandbox, &Command::new(["/program"])).0
}

pub fn calls(mode: Mode, dir: &Path) {
    let sandbox = furnished(mode, dir);
    // The machine's own getpid shows that these programs can say something else: PID 2.
    assert_eq!(bare(&sandbox, 39, SYSCALL), Outcome::Exited(256 - 2));
    // getpid of i386 (int 0x80) and of x32.
    assert_eq!(
        bare(&sandbox, 20, [0xcd, 0x80]),
        Outcome::Exited(libc::ENOSYS)
    );
    assert_eq!(
        bare(&sandbox, 0x4000_0000 + 39, SYSCALL),
        Outcome::Exited(libc::ENOSYS)
    );
    for number in [libc::SYS_io_uring_setup, libc::SYS_keyctl, 463] {
        assert_eq!(
            bare(&sandbox, number as u32, SYSCALL),
            Outcome::Exited(libc::ENOSYS),
            "{number}"
        );
    }
    assert_eq!(set_attribute(&sandbox, "user.x"), Outcome::Exited(0));
    assert_eq!(
        set_attribute(&sandbox, "user.mibe.owner"),
        Outcome::Exited(0)
    );
    for name in [
        "security.capability",
        "system.posix_acl_access",
        "system.posix_acl_default",
    ] {
        assert_eq!(
            set_attribute(&sandbox, name),
            Outcome::Exited(libc::EOPNOTSUPP),
            "{name}"
        );
    }
    let (_, output) = sh(&sandbox, "busybox stat -c %u /f");
    assert_eq!(output, "0\n");
    sandbox.destroy().unwrap();
}
