use super::{CliError, Printer};
use crate::client::Client;

/// Show the daemon's log
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with what is added, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Leave out what the processes of models say
    #[arg(long)]
    no_engines: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let Args { follow, no_engines } = args;
    let path = format!("/logs?follow={follow}&no-engines={no_engines}");
    let mut log = client.get_stream(&path, "text/plain").await?.lines();
    // Line by line, because what a line says is not to move the terminal's cursor.
    while let Some(line) = log.next().await? {
        printer.line(&line)?;
    }
    Ok(())
}
