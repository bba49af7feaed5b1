//! `mibe disk import`.

use std::fmt::Write as _;

use mibe_build::disk::import::{ImportOptions, Imported, import};
use mibe_build::disk::{Checksum, DiskInput};
use mibe_build::paths::Paths;
use mibe_disk::inspect::Os;
use mibe_disk::prepare::{Bootrom, Brand, Datasource, Wishes};
use mibe_image::file::Compression;
use mibe_image::progress::Event;

use crate::cli::{
    BootromName, BrandName, CompressionName, DatasourceName, DiskImport, OsName, ProgressName,
};
use crate::commands::build::{epoch, quoted};
use crate::error::{CommandError, Kind};
use crate::signals::flag_on_signals;
use crate::site::Site;
use crate::{output, progress, units};

pub fn run(arguments: &DiskImport) -> Result<(), CommandError> {
    let site = Site::find()?;
    let cancel = flag_on_signals()?;
    let progress = progress::of(arguments.progress, false);
    let checksum = match (&arguments.sha256, &arguments.sha512) {
        (Some(digits), _) => Some(Checksum::parse(digits)?),
        (None, Some(digits)) => match Checksum::parse(digits)? {
            Checksum::Sha256(_) => {
                return Err(CommandError::new(
                    Kind::Usage,
                    "--sha512 has the 64 digits of a SHA-256",
                )
                .hint("give it as --sha256".to_owned()));
            }
            checksum @ Checksum::Sha512(_) => Some(checksum),
        },
        (None, None) => None,
    };
    if let Some((scheme, _)) = arguments.disk.split_once("://")
        && !mibe_build::disk::is_url(&arguments.disk)
    {
        return Err(CommandError::new(
            Kind::Usage,
            format!(
                "{} is of the scheme {scheme}, and only http and https are fetched",
                arguments.disk
            ),
        ));
    }
    let input = DiskInput {
        name: arguments.disk.clone(),
        checksum,
        backing: arguments.backing.clone(),
    };
    if input.is_url() && input.checksum.is_none() {
        progress.event(Event::Warning {
            text:
                "the disk is taken as the server sends it, since no checksum says what it must be"
                    .to_owned(),
            advice: Some(
                "vendors have SHA256SUMS or SHA512SUMS beside their disks: --sha256 or --sha512"
                    .to_owned(),
            ),
        });
    }
    let options = ImportOptions {
        input,
        name: arguments.name.clone(),
        version: arguments.image_version.clone(),
        description: arguments.description.clone(),
        homepage: arguments.homepage.clone(),
        owner: arguments
            .owner
            .clone()
            .or_else(|| site.settings.text("build.owner").map(ToOwned::to_owned)),
        compression: match arguments.compression {
            CompressionName::Gzip => Compression::Gzip,
            CompressionName::None => Compression::None,
        },
        output: site.images(arguments.output.as_deref())?,
        size: arguments.size.map(|size| size << 30),
        block_size: arguments.volblocksize,
        wishes: Wishes {
            brand: arguments.brand.map(|brand| match brand {
                BrandName::Kvm => Brand::Kvm,
                BrandName::Bhyve => Brand::Bhyve,
                BrandName::Any => Brand::Any,
            }),
            bootrom: arguments.bootrom.map(|bootrom| match bootrom {
                BootromName::Bios => Bootrom::Bios,
                BootromName::Uefi => Bootrom::Uefi,
            }),
            datasource: arguments.datasource.map(|datasource| match datasource {
                DatasourceName::Smartos => Datasource::Smartos,
                DatasourceName::Nocloud => Datasource::Nocloud,
                DatasourceName::Keep => Datasource::Keep,
            }),
            os: arguments.os.map(|os| match os {
                OsName::Linux => Os::Linux,
                OsName::Bsd => Os::Bsd,
                OsName::Windows => Os::Windows,
                OsName::Other => Os::Other,
            }),
            clean: !arguments.no_clean,
            now: epoch()?,
        },
        force: arguments.force,
        paths: Paths::of_user()?,
    };
    let imported = import(&options, &cancel, progress.as_ref())?;
    for warning in &imported.warnings {
        progress.event(Event::Warning {
            text: warning.message.clone(),
            advice: Some(warning.mend.clone()),
        });
    }
    show(arguments, &imported);
    Ok(())
}

fn show(arguments: &DiskImport, imported: &Imported) {
    let install = format!(
        "imgadm install -m {} -f {}",
        quoted(imported.paths.manifest()),
        quoted(imported.paths.file())
    );
    if arguments.progress == ProgressName::Json {
        output::line(serde_json::json!({
            "event": "imported",
            "version": mibe_image::progress::VERSION,
            "manifest": imported.paths.manifest(),
            "file": imported.paths.file(),
            "uuid": imported.image.uuid,
            "notes": imported.notes,
            "install": install,
        }));
        return;
    }
    let image = &imported.image;
    let mut needs = Vec::new();
    if let Some(requirements) = &image.requirements {
        needs.extend(requirements.brand.clone());
        needs.extend(
            requirements
                .bootrom
                .clone()
                .map(|bootrom| format!("bootrom {bootrom}")),
        );
    }
    let needs = if needs.is_empty() {
        "kvm or bhyve".to_owned()
    } else {
        needs.join(", ")
    };
    let mut done = String::new();
    for note in &imported.notes {
        // Writing to a String cannot fail.
        let _ = writeln!(done, "          {}", output::plain(note));
    }
    if !done.is_empty() {
        done = format!("changed   in the image:\n{done}");
    }
    let size = image
        .files
        .iter()
        .flatten()
        .next()
        .map_or(0, |file| file.size);
    output::line(format_args!(
        "\nimage     {} {}\n\
         uuid      {}\n\
         disk      {} MiB, for {needs}\n\
         {done}\
         file      {} ({}; {} before compression)\n\
         manifest  {}\n\n\
         Copy both files to a SmartOS host and install them there with:\n\n    {install}",
        image.name,
        image.version,
        image.uuid,
        image.image_size.unwrap_or(0),
        imported.paths.file(),
        units::bytes(size),
        units::bytes(imported.stream_size),
        imported.paths.manifest(),
    ));
}
