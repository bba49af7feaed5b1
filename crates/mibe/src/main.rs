//! `mibe`, the command line: arguments in, words and progress out.

mod cli;
mod commands;
mod error;
mod old_names;
mod output;
mod problems;
mod progress;
#[cfg(feature = "servers")]
mod servers;
mod signals;
mod site;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::error::CommandError;

fn main() -> ExitCode {
    #[cfg(feature = "local")]
    mibe_sandbox::agent_main(mibe_build::JOBS);
    if let Some(status) = old_names::run() {
        return status;
    }
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Build(arguments) => commands::build::run(arguments),
        Command::Check(arguments) => commands::check::run(arguments),
        Command::Convert(arguments) => commands::convert::run(arguments),
        Command::Init(arguments) => commands::init::run(arguments),
        Command::InitHome(arguments) => commands::init_home::run(arguments),
        Command::Repos(command) => commands::repos::run(command),
        Command::Image(command) => commands::image::run(command),
        Command::Disk(command) => commands::disk::run(command),
        #[cfg(feature = "servers")]
        Command::Publish(arguments) => commands::publish::run(arguments),
        #[cfg(feature = "servers")]
        Command::Serve(arguments) => commands::serve::run(arguments),
        #[cfg(feature = "servers")]
        Command::Server(command) => commands::server::run(command),
        #[cfg(feature = "local")]
        Command::Doctor(arguments) => commands::doctor::run(arguments),
        Command::Clean(arguments) => commands::clean::run(arguments),
        Command::Completions(arguments) => {
            commands::completions::run(arguments);
            Ok(())
        }
        Command::Man(arguments) => commands::man::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&cli, &error);
            error.exit_code()
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is where errors meet the user")]
fn report(cli: &Cli, error: &CommandError) {
    if let Command::Build(arguments) = &cli.command
        && arguments.progress == cli::ProgressName::Json
    {
        output::line(error.json());
    }
    eprint!("{}", error.render());
}
