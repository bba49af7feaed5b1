//! `mibe server`.

use mibe_imgapi::servers::{Server, ServerType};

use crate::cli::{ServerAdd, ServerCommand, ServerList, ServerTypeName};
use crate::error::CommandError;
use crate::{output, servers};

pub fn run(command: &ServerCommand) -> Result<(), CommandError> {
    match command {
        ServerCommand::List(arguments) => list(arguments),
        ServerCommand::Add(arguments) => add(arguments),
        ServerCommand::Remove(arguments) => {
            servers::servers()?.remove(&arguments.name)?;
            output::line(format_args!("removed {}", arguments.name));
            Ok(())
        }
    }
}

/// What the library calls a kind of server.
pub fn kind(name: ServerTypeName) -> ServerType {
    match name {
        ServerTypeName::Imgapi => ServerType::Imgapi,
        ServerTypeName::Dsapi => ServerType::Dsapi,
    }
}

fn list(arguments: &ServerList) -> Result<(), CommandError> {
    let servers = servers::servers()?.list();
    if arguments.json {
        for (name, server) in servers {
            let mut object = serde_json::json!(server);
            object["name"] = name.into();
            output::line(object);
        }
        return Ok(());
    }
    let mut rows = vec![["NAME", "TYPE", "URL", "CHANNEL", "USER"].map(String::from)];
    let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    rows.extend(servers.into_iter().map(|(name, server)| {
        [
            name,
            server.kind.to_string(),
            server.url,
            dash(server.channel),
            dash(server.credentials.user),
        ]
    }));
    output::table(&rows);
    Ok(())
}

fn add(arguments: &ServerAdd) -> Result<(), CommandError> {
    let mut server = Server::new(&arguments.url, kind(arguments.kind));
    server.channel.clone_from(&arguments.channel);
    server.credentials = servers::source(&arguments.credentials)?;
    let url = server.url.clone();
    servers::servers()?.add(&arguments.name, server)?;
    output::line(format_args!("added {}: {url}", arguments.name));
    Ok(())
}
