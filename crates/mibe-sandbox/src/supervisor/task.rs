//! A process that waits for an answer: its memory, and files as it would find them.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode as Bits, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::call::At;
use super::notification::{read_memory, write_memory};

const PAGE: u64 = 4096;
const PATH_MAX: usize = 4096;

/// A thread, by its id in PID 1's namespace. Its entry in /proc is reached from the working directory.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) pid: u32,
}

/// Where a path starts and what is left of it.
#[derive(Debug)]
pub(super) struct Start {
    base: OwnedFd,
    path: Vec<u8>,
    resolve: ResolveFlags,
}

impl Task {
    pub(super) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// A NUL-terminated string of at most `limit` bytes, the NUL included. Read page by page: what lies behind
    /// its end may not be mapped.
    pub(super) fn string(&self, address: u64, limit: usize) -> io::Result<CString> {
        let mut text = Vec::new();
        let mut buffer = [0u8; PAGE as usize];
        while text.len() < limit {
            let at = address + text.len() as u64;
            let want = ((PAGE - at % PAGE) as usize).min(limit - text.len());
            let chunk = buffer.get_mut(..want).unwrap_or_default();
            let got = read_memory(self.pid, at, chunk)?;
            let chunk = chunk.get(..got).unwrap_or_default();
            if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(chunk.get(..end).unwrap_or_default());
                return Ok(CString::new(text)?);
            }
            if got == 0 {
                return Err(Errno::FAULT.into());
            }
            text.extend_from_slice(chunk);
        }
        Err(Errno::NAMETOOLONG.into())
    }

    pub(super) fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        if read_memory(self.pid, address, buffer)? == buffer.len() {
            Ok(())
        } else {
            Err(Errno::FAULT.into())
        }
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        write_memory(self.pid, address, bytes)
    }

    pub(super) fn path(&self, at: At) -> io::Result<CString> {
        match at.path {
            Some(address) => self.string(address, PATH_MAX),
            None => Ok(CString::default()),
        }
    }

    /// A field of the process's /proc entry.
    fn status(&self, field: &str, radix: u32) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("{}/status", self.pid))?;
        let text = status.lines().find_map(|line| line.strip_prefix(field));
        text.and_then(|text| u64::from_str_radix(text.trim(), radix).ok())
            .ok_or_else(|| Errno::SRCH.into())
    }

    /// The process's umask.
    pub(super) fn umask(&self) -> io::Result<u32> {
        Ok(self.status("Umask:", 8)? as u32)
    }

    /// Whether it gave up set-id files.
    pub(super) fn no_new_privileges(&self) -> io::Result<bool> {
        Ok(self.status("NoNewPrivs:", 10)? != 0)
    }

    /// Whether it has a capability (by number) in effect.
    pub(super) fn is_capable(&self, capability: u32) -> io::Result<bool> {
        Ok(self.status("CapEff:", 16)? & (1 << capability) != 0)
    }

    fn open_link(&self, link: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let path = format!("{}/{link}", self.pid);
        Ok(rustix::fs::openat(
            CWD,
            path,
            OFlags::PATH | OFlags::CLOEXEC | flags,
            Bits::empty(),
        )?)
    }

    /// Where the process would start to look for a path.
    pub(super) fn start(&self, dir: i32, path: &CStr) -> io::Result<Start> {
        let bytes = path.to_bytes();
        if let Some(inside) = self.own_proc(bytes) {
            let base =
                rustix::fs::openat(CWD, c".", OFlags::PATH | OFlags::CLOEXEC, Bits::empty())?;
            return Ok(Start {
                base,
                path: inside,
                resolve: ResolveFlags::empty(),
            });
        }
        let (link, resolve) = match (bytes.first(), dir) {
            (Some(b'/'), _) => ("root".to_owned(), ResolveFlags::IN_ROOT),
            (_, libc::AT_FDCWD) => ("cwd".to_owned(), ResolveFlags::empty()),
            (_, fd) => (format!("fd/{fd}"), ResolveFlags::empty()),
        };
        Ok(Start {
            base: self.open_link(&link, OFlags::empty())?,
            path: bytes.to_vec(),
            resolve,
        })
    }

    /// Links of /proc and /dev that mean the process that looks: a path from /proc that means the same to us.
    fn own_proc(&self, path: &[u8]) -> Option<Vec<u8>> {
        let pid = self.pid;
        let (prefix, rest) = if let Some(rest) = path.strip_prefix(b"/proc/self/") {
            (format!("{pid}/"), rest)
        } else if let Some(rest) = path.strip_prefix(b"/proc/thread-self/") {
            (format!("{pid}/"), rest)
        } else if let Some(rest) = path.strip_prefix(b"/dev/fd/") {
            (format!("{pid}/fd/"), rest)
        } else {
            let number = match path {
                b"/dev/stdin" => 0,
                b"/dev/stdout" => 1,
                b"/dev/stderr" => 2,
                _ => return None,
            };
            (format!("{pid}/fd/{number}"), &b""[..])
        };
        Some([prefix.as_bytes(), rest].concat())
    }

    /// The file a call names (`O_PATH`).
    pub(super) fn target(&self, at: At) -> io::Result<OwnedFd> {
        let path = self.path(at)?;
        if path.is_empty() {
            return match (at.empty, at.dir) {
                (false, _) => Err(Errno::NOENT.into()),
                (true, libc::AT_FDCWD) => self.open_link("cwd", OFlags::empty()),
                (true, fd) => self.open_link(&format!("fd/{fd}"), OFlags::empty()),
            };
        }
        let follow = if at.follow {
            OFlags::empty()
        } else {
            OFlags::NOFOLLOW
        };
        self.start(at.dir, &path)?.open(OFlags::PATH | follow, 0)
    }

    /// The directory a new name goes to, and the name.
    pub(super) fn parent(&self, at: At) -> io::Result<(OwnedFd, CString)> {
        let path = self.path(at)?;
        self.start(at.dir, &path)?.parent()
    }
}

impl Start {
    /// Opens the file itself.
    pub(super) fn open(&self, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        self.open_path(&self.path, flags, mode)
    }

    fn open_path(&self, path: &[u8], flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        loop {
            match rustix::fs::openat2(
                &self.base,
                path,
                flags | OFlags::CLOEXEC,
                mode.into(),
                self.resolve,
            ) {
                // A rename elsewhere made the kernel unsure of a `..`.
                Err(Errno::AGAIN) => {}
                answer => return Ok(answer?),
            }
        }
    }

    /// The directory of the last component, and that.
    pub(super) fn parent(&self) -> io::Result<(OwnedFd, CString)> {
        let end = self
            .path
            .iter()
            .rposition(|byte| *byte != b'/')
            .map_or(0, |last| last + 1);
        let path = self.path.get(..end).unwrap_or_default();
        let cut = path
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |slash| slash + 1);
        let (dir, name) = path.split_at(cut);
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::EXIST.into());
        }
        let dir: &[u8] = if dir.is_empty() { b"." } else { dir };
        let dir = self.open_path(dir, OFlags::PATH | OFlags::DIRECTORY, 0)?;
        Ok((dir, CString::new(name)?))
    }
}
