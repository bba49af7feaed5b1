//! `mibe image avail`.

use mibe_image::manifest::Manifest;
use mibe_imgapi::filter::{self, Filter};
use mibe_imgapi::http::Cancel;

use crate::cli::ImageAvail;
use crate::error::{CommandError, Kind};
use crate::signals::flag_on_signals;
use crate::{output, servers};

#[expect(clippy::print_stderr, reason = "warnings beside a result")]
pub fn run(arguments: &ImageAvail) -> Result<(), CommandError> {
    let mut filter = Filter::default();
    for argument in &arguments.filters {
        filter.add_argument(argument)?;
    }
    let cancel = Cancel::new(flag_on_signals()?);
    let clients = servers::clients(&arguments.server, arguments.channel.as_deref(), &cancel)?;
    let mut rows =
        vec![["UUID", "NAME", "VERSION", "OS", "TYPE", "PUB", "SERVER"].map(String::from)];
    let mut failed: Option<CommandError> = None;
    for client in &clients {
        let offer = match client.list(&filter) {
            Ok(offer) => offer,
            Err(error) => {
                // The others may answer all the same.
                let so_far = failed.take().unwrap_or_else(|| {
                    CommandError::new(Kind::Failed, "not all servers could be asked").hint(
                        "--server NAME asks that one alone; `mibe server list` shows them"
                            .to_owned(),
                    )
                });
                failed = Some(so_far.cause(format!("{}: {error}", client.name())));
                continue;
            }
        };
        if let Some(first) = offer.odd.first() {
            eprintln!(
                "warning: {} lists {} images that are none: {}",
                client.name(),
                offer.odd.len(),
                output::plain(first)
            );
        }
        for image in &offer.images {
            if arguments.json {
                output::line(serde_json::json!({"server": client.name(), "image": image}));
            } else {
                rows.push(row(client.name(), image));
            }
        }
    }
    if !arguments.json {
        output::table(&rows);
    }
    failed.map_or(Ok(()), Err)
}

fn row(server: &str, image: &Manifest) -> [String; 7] {
    let date = image.published_at.as_deref().unwrap_or("-");
    let state = filter::state(image);
    let date = date.split('T').next().unwrap_or(date);
    let date = if state == mibe_image::manifest::State::Active {
        date.to_owned()
    } else {
        state.to_string()
    };
    [
        image.uuid.clone(),
        image.name.clone(),
        image.version.clone(),
        image.os.to_string(),
        image.kind.to_string(),
        date,
        server.to_owned(),
    ]
}
