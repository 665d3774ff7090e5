use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::{CliError, ExitCode, Printer};
use crate::config::{self, RawConfig, Sources, search_path};
use crate::daemon::{DaemonError, Standby, hand_over, start_logging};

/// Listen, and start the daemon with the first connection, as systemd does
///
/// For where no service manager does so: containers, other init systems, a terminal. The sockets are
/// handed over in systemd's protocol. A program that ends by itself, as `modeld serve --idle-exit`
/// does, is started again by the next connection; after 2, 75 and 78 it is not, and this command
/// ends the same way.
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
        let error = hand_over(parent, &args.program);
        printer.error(error.to_string());
        return Ok(if is_final(&error) { ExitCode::Config } else { ExitCode::Failure });
    }
    let raw = RawConfig { socket: args.socket, tcp: args.tcp, ..RawConfig::default() };
    let sources = Sources::of_process(raw, file);
    let (mut config, _) = sources.shown()?;
    if let Some(program) = args.program.first() {
        find(program, &search_path())?;
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
        let named = sources.named.is_some().then(|| sources.user_file()).flatten();
        let standby = Standby::listen(&config).await?.with_settings(named);
        for address in standby.addresses() {
            tracing::info!(%address, "waiting for the first connection");
        }
        standby.run(&starter).await
    })?;
    Ok(match code {
        0 => ExitCode::Success,
        2 => ExitCode::Usage,
        75 => ExitCode::AlreadyRunning,
        78 => ExitCode::Config,
        130 => ExitCode::Interrupted,
        _ => ExitCode::Failure,
    })
}

/// Whether a program that could not be executed cannot be next time: not one that is being exchanged
/// for another just now, nor one that there was no memory for.
fn is_final(error: &DaemonError) -> bool {
    let DaemonError::Io { source, .. } = error else { return false };
    let unfit = [Errno::NOEXEC, Errno::ACCESS, Errno::PERM, Errno::ISDIR];
    Errno::from_io_error(source).is_some_and(|errno| unfit.contains(&errno))
}

/// Sees to it that a program is there before anybody waits for it.
fn find(program: &OsStr, dirs: &[PathBuf]) -> Result<(), CliError> {
    let shown = Path::new(program).display();
    let unusable = |problem: String| Err(CliError::Unusable(format!("{shown} {problem}")));
    let runs = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if program.as_encoded_bytes().contains(&b'/') {
        return match std::fs::metadata(program) {
            Ok(_) if runs(Path::new(program)) => Ok(()),
            Ok(meta) if meta.is_file() => unusable(format!(
                "cannot be executed by this user; if it is a program: chmod +x {shown}"
            )),
            Ok(_) => unusable("is no program".to_owned()),
            Err(error) => unusable(format!("cannot be started: {error}")),
        };
    }
    if dirs.iter().any(|dir| runs(&dir.join(program))) {
        return Ok(());
    }
    unusable("is in no directory of PATH; write the program with its whole path".to_owned())
}

/// The file that runs here, also when a newer version has taken its name: it hands over to what it
/// knows how to hand over to.
fn this_file(named: PathBuf) -> OsString {
    if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { named.into() }
}

fn help(setting: config::Setting) -> String {
    format!("{} [env: {}] [default: {}]", setting.meaning, setting.env, setting.default)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_has_to_be_there_before_anybody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let find = |program: &OsStr| {
            find(program, &[dir.path().to_owned()]).map_err(|error| {
                assert_eq!(error.exit_code() as u8, 78);
                error.to_string()
            })
        };
        assert!(find(path.as_os_str()).unwrap_err().contains("No such file"));
        assert!(find(OsStr::new("program")).unwrap_err().contains("no directory of PATH"));
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(find(path.as_os_str()).unwrap_err().contains("chmod +x"));
        assert!(find(dir.path().as_os_str()).unwrap_err().contains("is no program"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(path.as_os_str()), Ok(()));
        assert_eq!(find(OsStr::new("program")), Ok(()));
    }
}
