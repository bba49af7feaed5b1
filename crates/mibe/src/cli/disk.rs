//! `mibe disk`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{CompressionName, ProgressName};

/// Make images for kvm and bhyve of vendors' cloud disks.
#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// Tell what a disk is, how it boots, what its cloud-init will do on SmartOS
    ///
    /// Nothing is changed. Formats: qcow2, raw, either compressed (gzip, xz, zstd, bzip2); vmdk, vhdx, vhd and vdi where qemu-img is installed.
    Inspect(DiskInspect),
    /// Make an image of a disk
    ///
    /// The disk's own file is not changed. Of the copy, the guest's cloud-init is told to use the metadata of SmartOS, and what is of one machine alone is cleaned
    /// away; that needs the guest's files on ext4, and debugfs and e2fsck (e2fsprogs).
    Import(Box<DiskImport>),
}

/// Tell what a disk is, how it boots, what its cloud-init will do on SmartOS.
#[derive(Debug, Args)]
pub struct DiskInspect {
    /// The disk
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The file that a qcow2 disk stands on; once more for that one's own
    #[arg(long, value_name = "FILE")]
    pub backing: Vec<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Make an image of a disk.
#[derive(Debug, Args)]
#[command(disable_version_flag = true)]
pub struct DiskImport {
    /// The disk: a file, or a URL
    #[arg(value_name = "FILE|URL")]
    pub disk: String,
    /// Name of the image
    #[arg(long)]
    pub name: String,
    /// Version of the image
    #[arg(long = "version", value_name = "VERSION")]
    pub image_version: String,
    /// A word about the image
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Where to read more
    #[arg(long, value_name = "URL")]
    pub homepage: Option<String>,
    /// UUID of the image's owner
    #[arg(long, value_name = "UUID")]
    pub owner: Option<String>,
    /// The brand that machines must have [default: any, unless the disk needs bhyve]
    #[arg(long, value_enum)]
    pub brand: Option<BrandName>,
    /// The firmware that machines must have, with bhyve [default: none, unless the disk boots by UEFI alone]
    #[arg(long, value_enum)]
    pub bootrom: Option<BootromName>,
    /// Make the volume larger than the disk
    #[arg(long, value_name = "GiB", value_parser = gibibytes)]
    pub size: Option<u64>,
    /// Where the guest's metadata come from [default: smartos for Linux, keep for others]
    #[arg(long, value_enum)]
    pub datasource: Option<DatasourceName>,
    /// The family of the guest's system [default: what is found on the disk]
    #[arg(long, value_enum)]
    pub os: Option<OsName>,
    /// SHA-256 that the file must have, as the vendor's SHA256SUMS has it
    #[arg(long, value_name = "DIGITS", conflicts_with = "sha512")]
    pub sha256: Option<String>,
    /// SHA-512 that the file must have
    #[arg(long, value_name = "DIGITS")]
    pub sha512: Option<String>,
    /// Block size of the volume, in bytes: a power of two from 512 to 131072
    #[arg(long, value_name = "BYTES", default_value_t = 8192, value_parser = block_size)]
    pub volblocksize: u32,
    /// Leave host keys, machine-id, logs and the like in the guest
    #[arg(long)]
    pub no_clean: bool,
    /// The file that a qcow2 disk stands on; once more for that one's own
    #[arg(long, value_name = "FILE")]
    pub backing: Vec<PathBuf>,
    /// Where the image goes [default: images, in the home if there is one]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Compression of the image's file
    #[arg(long, value_enum, default_value_t = CompressionName::Gzip)]
    pub compression: CompressionName,
    /// Replace an image of the same name and version
    #[arg(long)]
    pub force: bool,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressName::Auto)]
    pub progress: ProgressName,
}

/// A size in GiB, with or without the unit.
fn gibibytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches("iB").trim_end_matches(['g', 'G']);
    match digits.parse() {
        Ok(size) if (1..=65_536).contains(&size) => Ok(size),
        _ => Err("it is a whole number of GiB from 1 to 65536".to_owned()),
    }
}

/// A block size that volumes can have.
fn block_size(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(size) if (512..=131_072_u32).contains(&size) && size.is_power_of_two() => Ok(size),
        _ => Err("it is a power of two from 512 to 131072".to_owned()),
    }
}

/// Brands of virtual machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BrandName {
    /// kvm alone
    Kvm,
    /// bhyve alone
    Bhyve,
    /// Either
    Any,
}

/// Firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BootromName {
    /// A BIOS
    Bios,
    /// UEFI
    Uefi,
}

/// Where metadata come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatasourceName {
    /// The second serial port, by cloud-init's datasource of SmartOS, which is enabled
    Smartos,
    /// A NoCloud disk that bhyve attaches, on platforms since March 2026: no ssh keys, no user-script
    Nocloud,
    /// Whatever the guest does
    Keep,
}

/// Families of systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OsName {
    /// Linux
    Linux,
    /// A BSD
    Bsd,
    /// Windows
    Windows,
    /// Anything else
    Other,
}
