//! `mibe serve`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use mibe_imgapi::http::Cancel;
use mibe_imgapi::server::{Channel, Limits, Report, Server, Settings, Writers};

use super::utf8;
use crate::cli::Serve;
use crate::error::{CommandError, Kind};
use crate::output;
use crate::signals::flag_on_signals;
use crate::site::Site;

#[expect(
    clippy::print_stderr,
    reason = "what happens while it runs is told there"
)]
pub fn run(arguments: &Serve) -> Result<(), CommandError> {
    let folder = if let Some(folder) = &arguments.folder {
        utf8(folder)?.to_owned()
    } else {
        let folder = Site::find()?.images(None)?;
        fs::create_dir_all(&folder).map_err(|error| {
            CommandError::new(Kind::Failed, format!("can't make {folder}: {error}"))
        })?;
        folder
    };
    if !folder.is_dir() {
        let error = CommandError::new(Kind::Usage, format!("{folder} is no folder"));
        return Err(error.hint("it is the folder of images, in which builds leave them".to_owned()));
    }
    let is_local = arguments.listen.ip().is_loopback();
    let writers = match &arguments.auth {
        Some(path) => Writers::Users(path.clone()),
        None if is_local && !arguments.read_only => Writers::Local,
        None => Writers::Nobody,
    };
    let tls = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
    let limits = Limits {
        grace: Duration::from_secs(arguments.grace),
        silence: Duration::from_secs(arguments.timeout),
        ..Limits::default()
    };
    let settings = Settings {
        folder: folder.clone(),
        writers: writers.clone(),
        channels: Channel::all_of(&arguments.channel)?,
        url: arguments.url.clone(),
        tls: tls.clone(),
        limits,
    };
    let quiet = arguments.quiet;
    let log = Arc::new(move |report: Report| match report {
        Report::Warning(text) => eprintln!("warning: {}", output::visible(&text)),
        report if !quiet => eprintln!("{}", output::visible(&line(report))),
        Report::Answered { .. } => {}
    });
    let cancel = Cancel::new(flag_on_signals()?);
    let server = Server::new(arguments.listen, settings, log)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = server.address()?;
    output::line(format_args!(
        "serving {folder} ({} images) at {scheme}://{address}/",
        server.images()
    ));
    output::line(match &writers {
        Writers::Users(path) => format!("who may publish: the users in {path}"),
        Writers::Local => "who may publish: programs on this machine".to_owned(),
        Writers::Nobody if arguments.read_only => "who may publish: nobody".to_owned(),
        Writers::Nobody => {
            "who may publish: nobody (--auth names the file of those who may)".to_owned()
        }
    });
    if matches!(writers, Writers::Users(_)) && tls.is_none() && !is_local {
        eprintln!(
            "warning: passwords can be read on their way: give --tls-cert and --tls-key, or put a proxy with TLS before it"
        );
    }
    server.run(&cancel)?;
    Ok(())
}

/// A line for a request, in the order of web servers' logs.
fn line(report: Report) -> String {
    let Report::Answered {
        user,
        address,
        method,
        target,
        status,
        length,
        time,
    } = report
    else {
        return String::new();
    };
    format!(
        "{} {} \"{method} {target}\" {status} {} {:.1} ms",
        address.ip(),
        user.as_deref().unwrap_or("-"),
        length.map_or_else(|| "-".to_owned(), |length| length.to_string()),
        time.as_secs_f64() * 1000.0
    )
}
