//! What a disk needs, and whether that is what is wanted.

use std::path::Path;

use serde_json::{Map, json};

use crate::error::DiskError;
use crate::inspect::{Inspection, Os, Problem, Severity};
use crate::prepare::{Bootrom, Brand, Datasource, Prepared, Wishes};

/// The tag that has bhyve attach a NoCloud disk (vmadm(8), OS-8711).
const NOCLOUD_TAG: &str = "org.smartos:cloudinit_datasource";

impl Wishes {
    /// Refuses wishes that no disk fulfils.
    ///
    /// # Errors
    ///
    /// They contradict each other.
    pub fn check(&self) -> Result<(), DiskError> {
        if self.brand != Some(Brand::Kvm) {
            return Ok(());
        }
        let what = if self.bootrom == Some(Bootrom::Uefi) {
            "kvm has a BIOS alone, and UEFI is asked for"
        } else if self.datasource == Some(Datasource::Nocloud) {
            "only bhyve attaches a NoCloud disk, and kvm is asked for"
        } else {
            return Ok(());
        };
        Err(DiskError::usage(
            what,
            &["ask for the brand bhyve, or for none"],
        ))
    }
}

/// Refuses what is no disk to boot from; firmware that is asked for by name may know better.
pub(crate) fn bootable(found: &Inspection, wishes: &Wishes, path: &Path) -> Result<(), DiskError> {
    let refused = |problem: &&Problem| match problem.code {
        "no-partitions" | "installation-medium" => true,
        "not-bootable" => wishes.bootrom.is_none(),
        _ => false,
    };
    match found.problems.iter().find(refused) {
        Some(problem) => Err(DiskError::disk(
            path,
            problem.message.clone(),
            &[&problem.mend],
        )),
        None => Ok(()),
    }
}

/// Tells of a system that is said to be another than the one that was found.
pub(crate) fn other_system(wishes: &Wishes, found: Os) -> Option<Problem> {
    let said = wishes.os.filter(|&os| os != found && found != Os::Other)?;
    Some(Problem {
        code: "other-system",
        severity: Severity::Warning,
        message: format!(
            "the image says {}, as was asked for, and {} is on the disk",
            said.name(),
            found.name()
        ),
        mend: "leave the system out, and it is what is found".to_owned(),
    })
}

/// Where metadata will come from.
pub(crate) fn datasource(
    before: &Inspection,
    wishes: &Wishes,
    os: Os,
    path: &Path,
) -> Result<Datasource, DiskError> {
    let unreadable = before.unreadable();
    match (wishes.datasource, before.root()) {
        (Some(other @ (Datasource::Keep | Datasource::Nocloud)), _) => Ok(other),
        (Some(Datasource::Smartos) | None, Some(_)) if before.cloud_init.is_some() => {
            Ok(Datasource::Smartos)
        }
        (None, Some(_)) if os == Os::Bsd => Ok(Datasource::Keep),
        (_, Some(_)) => {
            let problem = before
                .problems
                .iter()
                .find(|problem| problem.code == "no-cloud-init");
            let (message, mend) = problem.map_or(("there is no cloud-init", ""), |problem| {
                (problem.message.as_str(), problem.mend.as_str())
            });
            Err(DiskError::disk(path, message, &[mend]))
        }
        (None, None) if os != Os::Linux => Ok(Datasource::Keep),
        (_, None) => {
            let what = unreadable.map_or("no file system that is known", |kind| kind.name());
            Err(DiskError::disk(
                path,
                format!(
                    "the datasource of SmartOS can't be enabled: the guest's files are on {what}, and mibe changes ext4 alone"
                ),
                &[
                    "--datasource nocloud has bhyve give the guest its name and address by a NoCloud disk, without ssh keys and user-script (platforms since March 2026)",
                    "--datasource keep imports it as it is, which is right where the guest uses the metadata of SmartOS already",
                ],
            ))
        }
    }
}

/// What machines need.
pub(crate) fn requirements(
    after: &Inspection,
    wishes: &Wishes,
    datasource: Datasource,
) -> Result<Prepared, DiskError> {
    let wanted = wishes.brand.unwrap_or(Brand::Any);
    let uefi_only = after.boot.uefi && !after.boot.bios;
    if wanted == Brand::Kvm && uefi_only {
        return Err(DiskError::usage(
            "kvm has a BIOS alone, and the disk boots by UEFI alone",
            &["ask for the brand bhyve, or for none"],
        ));
    }
    match wishes.bootrom {
        Some(Bootrom::Uefi) if !after.boot.uefi => {
            return Err(DiskError::usage(
                "UEFI finds nothing to boot on this disk (no /EFI/BOOT/BOOTX64.EFI on an EFI system partition)",
                &["ask for no bootrom"],
            ));
        }
        // Whoever asks for it knows what the code goes on with.
        Some(Bootrom::Bios) if !after.boot.code => {
            return Err(DiskError::usage(
                "a BIOS finds nothing to boot on this disk",
                &["ask for no bootrom"],
            ));
        }
        _ => {}
    }
    let bootrom = wishes.bootrom.or(uefi_only.then_some(Bootrom::Uefi));
    let needs_bhyve = wanted == Brand::Bhyve
        || bootrom.is_some() && wanted != Brand::Kvm
        || datasource == Datasource::Nocloud;
    let brand = match wanted {
        Brand::Kvm => Some("kvm"),
        _ if needs_bhyve => Some("bhyve"),
        _ => None,
    };
    let mut tags = Map::new();
    if datasource == Datasource::Nocloud {
        tags.insert(NOCLOUD_TAG.into(), json!("nocloud"));
    }
    let default_user = after
        .cloud_init
        .as_ref()
        .and_then(|found| found.default_user.clone());
    if let Some(user) = &default_user {
        tags.insert("default_user".into(), json!(user));
    }
    Ok(Prepared {
        os: after.os,
        brand,
        // A BIOS is what bhyve has where nothing is said; and the word means something to bhyve alone.
        bootrom: bootrom
            .filter(|_| brand == Some("bhyve"))
            .map(Bootrom::name),
        ssh_key: datasource == Datasource::Smartos,
        default_user,
        tags,
        notes: Vec::new(),
        warnings: Vec::new(),
    })
}
