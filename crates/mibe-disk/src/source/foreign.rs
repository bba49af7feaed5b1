//! Formats that qemu-img reads.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use super::{Format, MAX_DISK, Raw, vmdk};
use crate::error::DiskError;
use crate::tool::{self, Tool};

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

/// Converts the disk in `file` (that people know by `path`) into the new raw one `raw`.
pub(super) fn convert(
    file: &Path,
    path: &Path,
    format: Format,
    raw: &Path,
    cancel: &AtomicBool,
) -> Result<Raw, DiskError> {
    if format == Format::Vmdk {
        vmdk::check(file, path)?;
    }
    // QEMU takes what begins with a word and a colon for something else than a file.
    let file = &std::path::absolute(file).map_err(DiskError::io("find", path))?;
    let name = match format {
        Format::Vhd => "vpc",
        Format::Vhdx => "vhdx",
        Format::Vdi => "vdi",
        _ => "vmdk",
    };
    let folder = raw.parent().unwrap_or(Path::new("."));
    let purpose = format!("reading a {format} disk");
    let program = QEMU_IMG.find(&purpose)?;
    let info = tool::run(
        &QEMU_IMG,
        &program,
        ["info", "--output=json", "-f", name]
            .map(Into::into)
            .into_iter()
            .chain([file.as_os_str().to_owned()]),
        folder,
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
    tool::run(
        &QEMU_IMG,
        &program,
        ["convert", "-f", name, "-O", "raw"]
            .map(Into::into)
            .into_iter()
            .chain([file.as_os_str().to_owned(), raw.as_os_str().to_owned()]),
        folder,
        cancel,
    )?;
    let opened = File::open(raw).map_err(DiskError::io("open", raw))?;
    Raw::open(opened, Format::Raw).map_err(DiskError::io("read", raw))
}
