//! `mibe build --builder smartos`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mibe_build::BuildError;
use mibe_build::clean::Means;
use mibe_build::journal::ZoneEntry;
use mibe_build::paths::Paths;
use mibe_build::smartos::{SmartosBuilder, SmartosOptions, Timeouts};
use mibe_host::{Host, LocalHost, SshHost, SshOptions};
use mibe_image::progress::Progress;
#[cfg(feature = "local")]
use mibe_sandbox::Agent;

use super::{build_all, build_options, clean_up, epoch, plans, resolvers, show_plan};
use crate::cli::Build;
use crate::error::{CommandError, Kind};
use crate::signals;
use crate::site::Site;

/// The command timeout where nothing says otherwise, in seconds.
pub const COMMAND: u64 = 300;

pub fn run(arguments: &Build, site: &Site, progress: &dyn Progress) -> Result<(), CommandError> {
    let options = options(arguments, site)?;
    let flag = Arc::clone(&options.cancel);
    let where_to = (options.host.clone(), options.ssh_arguments.clone());
    let command = options.timeouts.command;
    let host = connect(where_to.0.as_deref(), &where_to.1)?;
    let mut builder = SmartosBuilder::new(Arc::clone(&host), options)?;
    let plans = plans(arguments, site, Some(&builder), None, progress)?;
    if arguments.dry_run {
        for plan in &plans {
            let (payload, notes) = builder.preview(plan)?;
            show_plan(arguments, plan, Some((&payload, &notes)));
        }
        return Ok(());
    }
    let paths = Paths::of_user()?;
    let same = |zone: &ZoneEntry| -> Result<Option<Arc<dyn Host>>, BuildError> {
        Ok(
            (zone.host == where_to.0 && zone.ssh_arguments == where_to.1)
                .then(|| Arc::clone(&host)),
        )
    };
    #[cfg(feature = "local")]
    let agent = Agent::current();
    let means = Means {
        #[cfg(feature = "local")]
        agent: &agent,
        connect: &same,
        timeout: command,
    };
    clean_up(&paths, &means, progress)?;
    let options = build_options(arguments, site, paths)?;
    build_all(arguments, &options, &plans, &mut builder, &flag, progress)
}

/// The host of a name; this machine without one.
pub fn connect(host: Option<&str>, ssh_arguments: &[String]) -> Result<Arc<dyn Host>, BuildError> {
    Ok(match host {
        None => Arc::new(LocalHost),
        Some(host) => {
            let options = SshOptions {
                arguments: ssh_arguments.iter().map(Into::into).collect(),
                program: None,
            };
            Arc::new(SshHost::connect(host, options)?)
        }
    })
}

fn options(arguments: &Build, site: &Site) -> Result<SmartosOptions, CommandError> {
    let settings = &site.settings;
    let text = |said: Option<&String>, key: &str| {
        said.cloned()
            .or_else(|| settings.text(key).map(ToOwned::to_owned))
    };
    let seconds = |said: Option<u64>, key: &str, otherwise: u64| {
        Duration::from_secs(said.or(settings.number(key)).unwrap_or(otherwise))
    };
    let sets = arguments
        .set
        .iter()
        .map(|set| match set.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(CommandError::new(
                Kind::Usage,
                format!("--set {set} is not of the form KEY=VALUE"),
            )
            .hint("as in --set quota=40, or --set nics.0.nic_tag=external".to_owned())),
        })
        .collect::<Result<_, _>>()?;
    Ok(SmartosOptions {
        host: text(arguments.host.as_ref(), "smartos.host"),
        ssh_arguments: settings.list("smartos.ssh_arguments").to_vec(),
        spec: spec(arguments, site)?,
        sets,
        pool: text(arguments.pool.as_ref(), "smartos.pool").unwrap_or_else(|| "zones".to_owned()),
        resolvers: resolvers(arguments, settings)?,
        pkgsrc_mirror: text(arguments.pkgsrc_mirror.as_ref(), "smartos.pkgsrc_mirror"),
        timeouts: Timeouts {
            command: seconds(None, "smartos.timeout_command", COMMAND),
            boot: seconds(arguments.timeout_boot, "smartos.timeout_boot", 300),
            import: seconds(None, "smartos.timeout_import", 7200),
        },
        cancel: signals::flag_on_signals()?,
        epoch: epoch()?,
    })
}

/// The spec that was named, or that of the home.
fn spec(arguments: &Build, site: &Site) -> Result<Option<(PathBuf, String)>, CommandError> {
    let set = site.settings.text("smartos.vm_spec").map(PathBuf::from);
    let named = arguments.vm_spec.clone().or(set);
    let of_home = || {
        let path = site.home.path("etc/vm.json").into_std_path_buf();
        (site.home.is_found() && path.exists()).then_some(path)
    };
    let Some(path) = named.or_else(of_home) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        CommandError::new(
            Kind::Usage,
            format!("the spec {} can't be read: {error}", path.display()),
        )
    })?;
    Ok(Some((path, text)))
}
