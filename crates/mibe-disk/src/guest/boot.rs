//! How a disk boots, and the command line that its kernel gets.

use std::io;

use serde::Serialize;

use super::tree::Tree;
use crate::fat;
use crate::source::{Part, Source};
use crate::table::{SECTOR, Table, TableKind, types};

/// What firmware finds something to boot on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BootMode {
    /// A BIOS does: there is code in the first sector, and where it goes on.
    pub bios: bool,
    /// UEFI does: there is a BOOTX64.EFI.
    pub uefi: bool,
    /// There is code in the first sector, whether or not it is known where it goes on.
    pub code: bool,
}

impl BootMode {
    /// In words.
    pub fn name(self) -> &'static str {
        match (self.bios, self.uefi) {
            (true, true) => "BIOS and UEFI",
            (true, false) => "BIOS",
            (false, true) => "UEFI",
            (false, false) => "none",
        }
    }

    /// Looks at a disk.
    ///
    /// # Errors
    ///
    /// The disk could not be read.
    pub fn of(disk: &dyn Source, table: Option<&Table>) -> io::Result<Self> {
        let mut record = [0; SECTOR as usize];
        if disk.size() >= SECTOR {
            disk.read_at(&mut record, 0)?;
        }
        let code = record[..440].iter().any(|&byte| byte != 0) && record[510..] == [0x55, 0xAA];
        let Some(table) = table else {
            return Ok(Self {
                bios: code,
                uefi: false,
                code,
            });
        };
        let goes_on = match table.kind {
            TableKind::Gpt => table.partitions.iter().any(|partition| {
                partition.active
                    || matches!(
                        partition.kind.as_str(),
                        types::BIOS_BOOT | types::FREEBSD_BOOT | types::ILLUMOS_BOOT
                    )
            }),
            TableKind::Mbr => true,
        };
        let uefi = table
            .partitions
            .iter()
            .filter(|partition| partition.is_esp())
            .any(|partition| {
                fat::boots(&Part::new(disk, partition.start, partition.size)).unwrap_or(false)
            });
        Ok(Self {
            bios: code && goes_on,
            uefi,
            code,
        })
    }
}

/// Most bytes of a boot loader's configuration that are read.
const LIMIT: u64 = 1 << 20;

/// Longest command line (`COMMAND_LINE_SIZE`: 2048 on x86); what is beyond, no kernel sees.
const LONGEST: usize = 4096;

/// Configurations of boot loaders, from the file system that has /boot; the first that is there is what boots.
const CONFIGURATIONS: [&str; 4] = [
    "grub/grub.cfg",
    "grub2/grub.cfg",
    "extlinux/extlinux.conf",
    "syslinux/syslinux.cfg",
];

/// The command line of the kernel that boots first, and the file it stands in; `prefix` is `boot/`, or empty where the tree is that of a partition that
/// becomes /boot.
pub fn command_line(tree: &dyn Tree, prefix: &str) -> Option<(String, String)> {
    // Entries of the Boot Loader Specification: GRUB of Fedora and its kin reads them, the one that sorts last first.
    let folder = format!("{prefix}loader/entries");
    let mut entries: Vec<String> = tree
        .list(&folder)
        .into_iter()
        .filter(|name| name.strip_suffix(".conf").is_some())
        .collect();
    entries.retain(|name| !name.contains("rescue"));
    if let Some(name) = entries.pop() {
        let path = format!("{folder}/{name}");
        let text = tree.read(&path, LIMIT)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut options = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("options "))
            .unwrap_or_default()
            .to_owned();
        // The options may be a variable of GRUB's environment.
        if options.contains("$kernelopts") {
            let environment = ["grub2/grubenv", "grub/grubenv"]
                .iter()
                .find_map(|name| tree.read(&format!("{prefix}{name}"), LIMIT));
            let environment =
                String::from_utf8_lossy(&environment.unwrap_or_default()).into_owned();
            let value = environment
                .lines()
                .find_map(|line| line.strip_prefix("kernelopts="))
                .unwrap_or_default();
            // Of either only what counts: a megabyte that names it everywhere, and one for each, would be a terabyte.
            options = cut(&options).replace("$kernelopts", cut(value));
        }
        return Some((cut(&options).to_owned(), path));
    }
    for name in CONFIGURATIONS {
        let path = format!("{prefix}{name}");
        let Some(text) = tree.read(&path, LIMIT) else {
            continue;
        };
        let text = String::from_utf8_lossy(&text);
        for line in text.lines().map(str::trim_start) {
            let mut words = line.split_whitespace();
            let command = words.next().unwrap_or_default();
            match command {
                // `linux /vmlinuz root=…`
                "linux" | "linux16" | "linuxefi" => {
                    words.next();
                    return Some((joined(words), path));
                }
                "append" | "APPEND" => return Some((joined(words), path)),
                _ => {}
            }
        }
    }
    None
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    cut(&words.collect::<Vec<_>>().join(" ")).to_owned()
}

/// As much of a line as a kernel sees.
fn cut(line: &str) -> &str {
    let mut end = line.len().min(LONGEST);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}
