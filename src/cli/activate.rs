use std::ffi::OsString;
use std::path::PathBuf;

use super::{CliError, ExitCode, Printer};
use crate::config::{self, RawConfig, Sources};
use crate::daemon::{DaemonError, Standby, hand_over, start_logging};

/// Listen, and start the daemon with the first connection, as systemd does
///
/// For where no service manager does so: containers, other init systems, a terminal. The sockets are
/// handed over in systemd's protocol. A program that ends by itself, as `modeld serve --idle-exit`
/// does, is started again by the next connection; after 75 and 78 it is not, and this command ends
/// the same way.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_name = config::settings::SOCKET.value, help = help(config::settings::SOCKET))]
    socket: Option<String>,
    #[arg(
        long,
        value_name = config::settings::TCP.value,
        num_args = 0..=1,
        default_missing_value = "",
        help = help(config::settings::TCP)
    )]
    tcp: Option<String>,
    /// Become the program at once, with the sockets of the process with this id
    #[arg(long, value_name = "PID", hide = true)]
    hand_over: Option<u32>,
    /// What to start [default: modeld serve]
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

pub(super) fn run(
    args: Args,
    file: Option<PathBuf>,
    printer: &mut Printer,
) -> Result<ExitCode, CliError> {
    if let Some(parent) = args.hand_over {
        // What cannot be executed now cannot be executed next time.
        printer.error(hand_over(parent, &args.program).to_string());
        return Ok(ExitCode::Config);
    }
    let raw = RawConfig { socket: args.socket, tcp: args.tcp, ..RawConfig::default() };
    let sources = Sources::of_process(raw, file);
    let (mut config, _) = sources.shown()?;
    if let Some(address) = config.tcp.value.filter(|at| !at.ip().to_canonical().is_loopback()) {
        return Err(CliError::Usage(format!(
            "{address} would open modeld to the network, which takes tokens: leave it to modeld \
             serve --tcp {address}, started without activate"
        )));
    }
    // The file is the daemon's.
    config.log_file.value = None;
    let _log = start_logging(&config)
        .map_err(|source| DaemonError::Io { doing: "start threads".to_owned(), source })?;
    let named = std::env::current_exe()
        .map_err(|e| CliError::Failed(format!("cannot find this program: {e}")))?;
    let program = match args.program.as_slice() {
        // By its name, so that a newer version is started once it is there.
        [] => vec![named.clone().into(), "serve".into()],
        program => program.to_vec(),
    };
    let own_id = std::process::id().to_string().into();
    let mut starter =
        vec![this_file(named), "activate".into(), "--hand-over".into(), own_id, "--".into()];
    starter.extend(program);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| DaemonError::Io { doing: "start".to_owned(), source })?;
    let code = runtime.block_on(async {
        let group = config.socket_group.value.as_deref();
        let socket = config.socket.value.clone();
        let named = sources.named.is_some().then(|| sources.user_file()).flatten();
        let standby = Standby::listen(socket, group, config.tcp.value).await?.with_settings(named);
        for address in standby.addresses() {
            tracing::info!(%address, "waiting for the first connection");
        }
        standby.run(&starter).await
    })?;
    Ok(match code {
        0 => ExitCode::Success,
        75 => ExitCode::AlreadyRunning,
        78 => ExitCode::Config,
        130 => ExitCode::Interrupted,
        _ => ExitCode::Failure,
    })
}

/// The file that runs here, also when a newer version has taken its name: it hands over to what it
/// knows how to hand over to.
fn this_file(named: PathBuf) -> OsString {
    if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { named.into() }
}

fn help(setting: config::Setting) -> String {
    format!("{} [env: {}] [default: {}]", setting.meaning, setting.env, setting.default)
}
