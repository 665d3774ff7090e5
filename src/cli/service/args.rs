use super::context::Context;
use super::{install, launchd, linger, logs, status, uninstall};
use crate::cli::{CliError, Printer};
use crate::client::Client;
use crate::doctor::SystemPrograms;

/// Have the system start the daemon: install, uninstall, status, logs
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Have it started with the first connection, from now on
    Install(Install),
    /// Take away what install made; models and settings stay
    Uninstall(Uninstall),
    /// Show the units, the daemon and its version
    Status(Status),
    /// Show what the service logged
    Logs(Logs),
    /// Let it run while you are not logged in
    EnableLinger,
}

/// What `install` can be told.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Install {
    /// Start the daemon at login and keep it running, not only with the first connection
    #[arg(long)]
    pub always: bool,
    /// Start nothing now
    #[arg(long)]
    pub no_start: bool,
    /// Also over files that somebody changed, and beside those of a package
    #[arg(long)]
    pub force: bool,
}

/// What `uninstall` can be told.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Uninstall {
    /// Also files that somebody changed
    #[arg(long)]
    pub force: bool,
}

/// What `status` can be told.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `logs` can be told.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Logs {
    /// Go on with what is added, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How many lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub lines: u32,
}

pub(in crate::cli) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let context = Context::of_process(&SystemPrograms)?;
    let is_mac = cfg!(target_os = "macos");
    match args.what {
        What::Install(args) if is_mac => launchd::install(&context, args, printer),
        What::Install(args) => install::run(&context, args, printer),
        What::Uninstall(args) if is_mac => launchd::uninstall(&context, args, printer),
        What::Uninstall(args) => uninstall::run(&context, args, printer),
        What::Status(args) => status::run(&context, args, client, printer).await,
        What::Logs(args) => logs::run(&context, args, printer),
        What::EnableLinger if is_mac => Err(CliError::Failed(
            "launchd starts agents at login; there is no lingering on macOS".to_owned(),
        )),
        What::EnableLinger => linger::enable(&context, printer),
    }
}
