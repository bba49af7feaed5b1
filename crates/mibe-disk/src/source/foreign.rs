//! Formats that qemu-img reads.
//!
//! Descriptions of VMware's disks can name any file of this machine for the data or for a disk below, and qemu-img would open it; so what a
//! file says of that is looked at here first, and only plain names beside it pass.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use super::{Format, MAX_DISK, Raw};
use crate::error::DiskError;
use crate::tool::{self, Tool};

/// Most bytes of a description (QEMU's vmdk.c takes as many).
const DESCRIPTION: u64 = 1 << 20;

const QEMU_IMG: Tool = Tool {
    program: "qemu-img",
    package: "qemu-utils",
};

/// What `qemu-img info` says.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    virtual_size: u64,
    #[serde(default)]
    backing_filename: Option<String>,
    #[serde(default)]
    encrypted: bool,
}

/// Converts the disk in `file` (that people know by `path`) into a raw one in the folder `scratch`.
pub(super) fn convert(
    file: &Path,
    path: &Path,
    format: Format,
    scratch: &Path,
    cancel: &AtomicBool,
) -> Result<Raw, DiskError> {
    if format == Format::Vmdk {
        check_vmdk(file, path)?;
    }
    // QEMU takes what begins with a word and a colon for something else than a file.
    let file = &std::path::absolute(file).map_err(DiskError::io("find", path))?;
    let name = match format {
        Format::Vhd => "vpc",
        Format::Vhdx => "vhdx",
        Format::Vdi => "vdi",
        _ => "vmdk",
    };
    let purpose = format!("reading a {format} disk");
    let program = QEMU_IMG.find(&purpose)?;
    let info = tool::run(
        &QEMU_IMG,
        &program,
        ["info", "--output=json", "-f", name]
            .map(Into::into)
            .into_iter()
            .chain([file.as_os_str().to_owned()]),
        scratch,
        cancel,
    )?;
    let info: Info = serde_json::from_slice(&info).map_err(|error| {
        DiskError::disk(
            path,
            format!("qemu-img says what can't be understood of it: {error}"),
            &[],
        )
    })?;
    if info.virtual_size > MAX_DISK {
        return Err(DiskError::disk(
            path,
            format!(
                "says to be a disk of {} bytes; more than {MAX_DISK} are not taken",
                info.virtual_size
            ),
            &[],
        ));
    }
    if let Some(below) = info.backing_filename {
        return Err(DiskError::disk(
            path,
            format!("holds only what differs from {below:?}"),
            &["make one file of both: qemu-img convert -O qcow2 FILE whole.qcow2"],
        ));
    }
    if info.encrypted {
        return Err(DiskError::disk(path, "is encrypted", &[]));
    }
    let raw = scratch.join("converted");
    tool::run(
        &QEMU_IMG,
        &program,
        ["convert", "-f", name, "-O", "raw"]
            .map(Into::into)
            .into_iter()
            .chain([file.as_os_str().to_owned(), raw.as_os_str().to_owned()]),
        scratch,
        cancel,
    )?;
    let opened = File::open(&raw).map_err(DiskError::io("open", &raw))?;
    Raw::open(opened, Format::Raw).map_err(DiskError::io("read", &raw))
}

/// Refuses a disk whose description names files that are not beside it.
fn check_vmdk(file: &Path, path: &Path) -> Result<(), DiskError> {
    let opened = File::open(file).map_err(DiskError::io("open", path))?;
    let size = opened
        .metadata()
        .map_err(DiskError::io("look at", path))?
        .len();
    let mut start = [0; 512];
    let there = size.min(512) as usize;
    opened
        .read_exact_at(&mut start[..there], 0)
        .map_err(DiskError::io("read", path))?;
    let (offset, length) = match &start[..4] {
        // "Virtual Disk Format 5.0", "Hosted Sparse Extent Header": capacity, and where the description is, in sectors.
        b"KDMV" => {
            let sectors =
                |at: usize| u64::from_le_bytes(std::array::from_fn(|index| start[at + index]));
            if sectors(12) == 0 {
                return Err(DiskError::disk(
                    path,
                    "has no disk of its own, only a description of others",
                    &[],
                ));
            }
            (
                sectors(28).saturating_mul(512),
                sectors(36).saturating_mul(512),
            )
        }
        // ESX's have none.
        b"COWD" => return Ok(()),
        _ => (0, size),
    };
    if offset == 0 && length == 0 {
        return Ok(());
    }
    let length = length.min(DESCRIPTION).min(size.saturating_sub(offset));
    let mut text = vec![0; length as usize];
    opened
        .read_exact_at(&mut text, offset)
        .map_err(DiskError::io("read", path))?;
    let text = String::from_utf8_lossy(&text);
    let refuse = |what: &str| {
        Err(DiskError::disk(
            path,
            format!("its description names {what}"),
            &[
                "make one file of it, if you trust it: qemu-img convert -f vmdk -O qcow2 FILE whole.qcow2",
            ],
        ))
    };
    let embedded = &start[..4] == b"KDMV";
    for line in text.trim_end_matches('\0').lines().map(str::trim) {
        let lower = line.to_ascii_lowercase();
        if lower.starts_with("parentfilenamehint") {
            return refuse("a disk that it stands on");
        }
        if let Some(cid) = lower.strip_prefix("parentcid")
            && cid.trim_start_matches([' ', '\t', '=']).trim() != "ffffffff"
        {
            return refuse("a disk that it stands on");
        }
        // `RW 4192256 FLAT "disk-flat.vmdk" 0`
        let is_extent = ["rw ", "rdonly ", "noaccess "]
            .iter()
            .any(|access| lower.starts_with(access));
        if is_extent && !embedded {
            let name = line.split('"').nth(1).unwrap_or_default();
            let plain =
                !name.is_empty() && !name.contains(['/', '\\', ':']) && name != "." && name != "..";
            let beside = file.parent().unwrap_or(Path::new(".")).join(name);
            let is_file =
                std::fs::symlink_metadata(&beside).is_ok_and(|metadata| metadata.is_file());
            if !plain || !is_file {
                return refuse(&format!(
                    "{name:?} for its data, which is no file beside it"
                ));
            }
        }
    }
    Ok(())
}
