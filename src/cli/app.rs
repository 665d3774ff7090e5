use std::path::{Path, PathBuf};

use clap::Parser;

use super::elsewhere::{self, Files};
use super::{
    CliError, ExitCode, Printer, activate, completions, config, configure, df, doctor, export,
    fsck, import, inspect, list, load, log_level, login, logout, logs, man, package, prune, ps,
    pull, purge, push, requests, rm, run, search, serve, service, status, tag, tcp, tls, token,
    transfers, unload, version,
};
use crate::client::{Client, ClientError};
use crate::config::{Env, Origin, RawConfig, Sources, Usable, daemon_host};

/// Runs language models on this machine, behind one Unix socket
#[derive(Debug, Parser)]
#[command(name = "modeld", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// The daemon to talk to: unix:///path, http://host:port or https://host:port [env: MODELD_HOST,
    /// MODEL_RUNNER_HOST] [default: the socket of modeld serve]
    #[arg(long, global = true, value_name = "HOST")]
    pub host: Option<String>,
    /// The settings file to read instead of your own [env: MODELD_CONFIG] [default:
    /// $XDG_CONFIG_HOME/modeld/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs; each has its file.
#[derive(Debug, clap::Subcommand)]
#[expect(
    missing_docs,
    reason = "a comment here would replace the help text of the verb's own file"
)]
pub enum Command {
    Serve(Box<serve::Args>),
    Activate(activate::Args),
    Run(run::Args),
    Pull(pull::Args),
    Push(push::Args),
    Transfers(transfers::Args),
    Package(package::Args),
    Export(export::Args),
    Load(load::Args),
    Import(import::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    #[command(visible_alias = "show")]
    Inspect(inspect::Args),
    Tag(tag::Args),
    Config(config::Args),
    Configure(configure::Args),
    Rm(rm::Args),
    Login(login::Args),
    Logout(logout::Args),
    Search(search::Args),
    Token(token::Args),
    Tls(tls::Args),
    Ps(ps::Args),
    #[command(visible_alias = "stop")]
    Unload(unload::Args),
    Df(df::Args),
    Prune(prune::Args),
    Fsck(fsck::Args),
    Purge(purge::Args),
    Status(status::Args),
    Service(service::Args),
    Tcp(tcp::Args),
    Doctor(doctor::Args),
    Logs(logs::Args),
    LogLevel(log_level::Args),
    Requests(requests::Args),
    Version(version::Args),
    Completions(completions::Args),
    Man(man::Args),
    /// One model's process; started by the daemon, not by people
    #[command(hide = true)]
    Worker,
}

/// Everything that the process does, but for workers, which never come here.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked_or_wrong) => {
            // Help and version are asked for and go to stdout; the rest goes to stderr.
            let code =
                if asked_or_wrong.use_stderr() { ExitCode::Usage } else { ExitCode::Success };
            let _ = asked_or_wrong.print();
            return code;
        }
    };
    let mut printer = Printer::stdio();
    let done = match cli.command {
        Command::Serve(_) if cli.host.is_some() => Err(CliError::Usage(
            "--host says where commands find a daemon; serve takes --socket and --tcp".to_owned(),
        )),
        Command::Activate(_) if cli.host.is_some() => Err(CliError::Usage(
            "--host says where commands find a daemon; activate takes --socket and --tcp"
                .to_owned(),
        )),
        Command::Serve(args) => serve::run(*args, cli.config),
        Command::Activate(args) => activate::run(args, cli.config, &mut printer),
        // These need no daemon, so a setting that says where it is cannot spoil them.
        Command::Completions(args) => {
            completions::run(&args, &mut printer).map(|()| ExitCode::Success)
        }
        Command::Man(args) => man::run(&args, &mut printer).map(|()| ExitCode::Success),
        Command::Config(args) if !args.asks_the_daemon() => {
            config::run(args, cli.config, &mut printer).map(|()| ExitCode::Success)
        }
        Command::Token(_) | Command::Tls(_) if cli.host.is_some() => Err(CliError::Usage(
            "tokens and certificates are made where the daemon's settings are, without --host"
                .to_owned(),
        )),
        Command::Token(args) => {
            let sources = Sources::of_process(RawConfig::default(), cli.config);
            let changes = args.changes();
            let done = token::run(args, &sources.env, &mut printer);
            if changes && done.is_ok() {
                elsewhere::warn(Files::Tokens, &sources, &mut printer);
                token::note_end(&sources, &mut printer);
            }
            done.map(|()| ExitCode::Success)
        }
        Command::Tls(args) => {
            tls::run(&args, &Env::from_process(), &mut printer).map(|()| ExitCode::Success)
        }
        // A setting that cannot be used is for it to find.
        Command::Doctor(args) => doctor::main(&args, cli.host.as_deref(), cli.config, &mut printer),
        command => with_runtime(cli.host.as_deref(), cli.config.as_deref(), command, &mut printer),
    };
    finish(done, &mut printer)
}

/// Reports a failure and turns it into the exit code.
pub(super) fn finish(done: Result<ExitCode, CliError>, printer: &mut Printer) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => {
            if let Some(text) = error.text() {
                printer.error(text);
            }
            error.exit_code()
        }
    }
}

/// A command that talks to the daemon, which reads its settings from `sources` if it is our own.
pub(super) async fn dispatch(
    command: Command,
    client: &Client,
    sources: &Sources,
    printer: &mut Printer,
) -> Result<(), CliError> {
    match command {
        Command::Run(args) => run::run(args, client, printer).await,
        Command::Pull(args) => pull::run(args, client, printer).await,
        Command::Push(args) => push::run(args, client, printer).await,
        Command::Transfers(args) => transfers::run(args, client, printer).await,
        Command::Package(args) => package::run(args, client, printer).await,
        Command::Export(args) => export::run(args, client, printer).await,
        Command::Load(args) => load::run(args, client, printer).await,
        Command::Import(args) => import::run(args, client, printer).await,
        Command::List(args) => list::run(args, client, printer).await,
        Command::Inspect(args) => inspect::run(args, client, printer).await,
        Command::Tag(args) => tag::run(args, client, printer).await,
        Command::Config(_) => config::reload(client, sources, printer).await,
        Command::Configure(args) => configure::run(args, client, printer).await,
        Command::Rm(args) => rm::run(args, client, printer).await,
        Command::Login(args) => login::run(args, client, printer, &mut login::Terminal).await,
        Command::Logout(args) => logout::run(args, client, printer).await,
        Command::Search(args) => search::run(args, client, printer).await,
        Command::Ps(args) => ps::run(args, client, printer).await,
        Command::Unload(args) => unload::run(args, client, printer).await,
        Command::Df(args) => df::run(args, client, printer).await,
        Command::Prune(args) => prune::run(args, client, printer).await,
        Command::Fsck(args) => fsck::run(args, client, printer).await,
        Command::Purge(args) => purge::run(args, client, printer).await,
        Command::Status(args) => status::run(args, client, printer).await,
        Command::Doctor(args) => doctor::run(&args, None, None, printer).await,
        Command::Tcp(args) => tcp::run(args, client, sources, printer).await,
        Command::Logs(args) => logs::run(args, client, printer).await,
        Command::LogLevel(args) => log_level::run(args, client, printer).await,
        Command::Requests(args) => requests::run(args, client, printer).await,
        Command::Version(args) => version::run(args, client, printer).await,
        Command::Completions(args) => completions::run(&args, printer),
        Command::Man(args) => man::run(&args, printer),
        Command::Serve(_)
        | Command::Activate(_)
        | Command::Worker
        | Command::Service(_)
        | Command::Token(_)
        | Command::Tls(_) => {
            Err(CliError::Usage("this command has to come first: modeld serve".to_owned()))
        }
    }
}

fn with_runtime(
    host: Option<&str>,
    file: Option<&Path>,
    command: Command,
    printer: &mut Printer,
) -> Result<ExitCode, CliError> {
    let sources = Sources::of_process(RawConfig::default(), file.map(Path::to_owned));
    // A file may say where the daemon is. One with a mistake is no reason not to ask a daemon that
    // runs, as long as it is the right one.
    let Usable { env, problem, hides_the_socket } = sources.read_usable();
    let host = daemon_host(host, &env)?;
    if let Some(problem) = &problem {
        // The service is shown and taken away whatever the file says; its installation reads it anew.
        let (is_service, installs) = match &command {
            Command::Service(args) => (true, args.installs()),
            _ => (false, false),
        };
        // One that a file names counts less than the file that hides another.
        let is_of_files = matches!(host.origin, Origin::Default | Origin::File { .. });
        if hides_the_socket && is_of_files && !is_service {
            return Err(problem.clone().into());
        }
        if !installs {
            printer.error(format!("{problem}; going on without it"));
        }
    }
    let client = Client::new(&host.value);
    let client = match sources.env.get(Env::TOKEN) {
        Some(token) => client.with_token(token)?,
        None => client,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::Failed(format!("cannot start: {e}")))?;
    let done = runtime.block_on(async {
        match command {
            Command::Service(args) => service::run(args, &sources, &client, printer).await,
            command => dispatch(command, &client, &sources, printer).await,
        }
    });
    // A thread that waits for a line of input must not keep the process.
    runtime.shutdown_background();
    match done {
        Ok(()) => Ok(ExitCode::Success),
        // The cause is the file, and starting the daemon would only say so again.
        Err(CliError::Client(ClientError::NotRunning { place }))
            if problem.is_some()
                && matches!(host.origin, Origin::Default | Origin::File { .. }) =>
        {
            Err(CliError::Unusable(format!(
                "modeld is not running (no daemon at {place}), and does not start before the \
                 settings file is corrected; modeld config check looks at it again"
            )))
        }
        Err(CliError::Client(ClientError::NotRunning { place }))
            if matches!(host.origin, Origin::Default | Origin::File { .. })
                && has_service(&env) =>
        {
            Err(CliError::Stopped(format!(
                "modeld is not running (no daemon at {place}), although its service is installed: \
                 modeld service status says what is wrong with it"
            )))
        }
        Err(other) => Err(other),
    }
}

/// Whether this user's service manager has a socket that should have been listening, as far as files
/// tell: it is not asked.
fn has_service(env: &Env) -> bool {
    let Some(dir) = env.config_dir.as_ref().filter(|_| cfg!(target_os = "linux")) else {
        return false;
    };
    let units = dir.join("systemd/user");
    // The second is the link of one that a package brought and somebody enabled.
    ["modeld.socket", "sockets.target.wants/modeld.socket"]
        .iter()
        .any(|name| units.join(name).symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_says_what_it_does() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
