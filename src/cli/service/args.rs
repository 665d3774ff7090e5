use super::context::Context;
use super::{install, launchd, linger, logs, status, uninstall};
use crate::cli::{CliError, Printer};
use crate::client::Client;
use crate::config::{DaemonHost, Sources};
use crate::doctor::SystemPrograms;

/// Have the system start the daemon: install, uninstall, status, logs
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

impl Args {
    /// Whether this writes units, which settings that cannot be used would spoil.
    pub(in crate::cli) fn installs(&self) -> bool {
        matches!(self.what, What::Install(_))
    }

    /// Whether this is about the machine's service, which reads no file of the user who asks.
    fn is_of_system(&self) -> bool {
        match self.what {
            What::Install(Install { system, .. })
            | What::Uninstall(Uninstall { system, .. })
            | What::Status(Status { system, .. })
            | What::Logs(Logs { system, .. }) => system,
            What::EnableLinger => false,
        }
    }
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
    /// The machine's service, with one daemon for all users, instead of one's own
    #[arg(long)]
    pub system: bool,
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
    /// The machine's service, with one daemon for all users, instead of one's own
    #[arg(long)]
    pub system: bool,
    /// Also files that somebody changed
    #[arg(long)]
    pub force: bool,
}

/// What `status` can be told.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Status {
    /// The machine's service, with one daemon for all users, instead of one's own
    #[arg(long)]
    pub system: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `logs` can be told.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Logs {
    /// The machine's service, with one daemon for all users, instead of one's own
    #[arg(long)]
    pub system: bool,
    /// Go on with what is added, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// How many lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub lines: u32,
}

pub(in crate::cli) async fn run(
    args: Args,
    sources: &Sources,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let sources = Sources { machine_only: args.is_of_system(), ..sources.clone() };
    let context = Context::of_process(&sources, args.installs(), &SystemPrograms)?;
    let is_mac = cfg!(target_os = "macos");
    match args.what {
        What::Install(args) if is_mac => launchd::install(&context, args, printer),
        What::Install(args) => install::run(&of(context, args.system, true)?, args, printer),
        What::Uninstall(args) if is_mac => launchd::uninstall(&context, args, printer),
        What::Uninstall(args) => uninstall::run(&of(context, args.system, true)?, args, printer),
        What::Status(args) => {
            let context = of(context, args.system, false)?;
            // The machine's daemon is elsewhere than one's own.
            let own = Client::new(&DaemonHost::Unix(context.socket.clone()));
            let client = if args.system { &own } else { client };
            status::run(&context, args, client, printer).await
        }
        What::Logs(args) => logs::run(&of(context, args.system, false)?, args, printer),
        What::EnableLinger if is_mac => Err(CliError::Failed(
            "launchd starts agents at login; there is no lingering on macOS".to_owned(),
        )),
        What::EnableLinger => linger::enable(&context, printer),
    }
}

fn of(context: Context<'_>, system: bool, changes: bool) -> Result<Context<'_>, CliError> {
    if !system {
        return Ok(context);
    }
    if cfg!(target_os = "macos") {
        return Err(CliError::Usage(
            "--system is for systemd; macOS has agents of users".to_owned(),
        ));
    }
    context.of_system(changes)
}
