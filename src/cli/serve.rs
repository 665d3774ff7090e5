use std::path::PathBuf;
use std::sync::Arc;

use super::{CliError, ExitCode};
use crate::config::{self, RawConfig, Sources, Variables};
use crate::daemon::{
    Callers, Daemon, DaemonError, Inherited, Outcome, Parts, Reload, Shutdown, give_memory_back,
    harden, hardened, raise_descriptor_limit, start_logging,
};
use crate::engine::worker::{WorkerConfig, WorkerFactory};

/// Enough for a daemon that passes bytes on: the computing happens in other processes.
const THREADS: usize = 2;

/// For file work, and for uploads, which occupy one each.
const BLOCKING_THREADS: usize = 32;

/// Run the daemon in the foreground
#[derive(Debug, Default, clap::Args)]
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
    #[arg(
        long,
        value_name = config::settings::SOCKET_GROUP.value,
        help = help(config::settings::SOCKET_GROUP)
    )]
    socket_group: Option<String>,
    #[arg(
        long,
        value_name = config::settings::REQUIRE_TOKEN.value,
        num_args = 0..=1,
        default_missing_value = "on",
        help = help(config::settings::REQUIRE_TOKEN)
    )]
    require_token: Option<String>,
    #[arg(long, value_name = config::settings::TLS.value, help = help(config::settings::TLS))]
    tls: Option<String>,
    #[arg(long, value_name = config::settings::TLS_CERT.value, help = help(config::settings::TLS_CERT))]
    tls_cert: Option<String>,
    #[arg(long, value_name = config::settings::TLS_KEY.value, help = help(config::settings::TLS_KEY))]
    tls_key: Option<String>,
    #[arg(
        long,
        value_name = config::settings::CONTAINERS.value,
        num_args = 0..=1,
        default_missing_value = "",
        help = help(config::settings::CONTAINERS)
    )]
    containers: Option<String>,
    #[arg(
        long,
        value_name = config::settings::OLLAMA_PORT.value,
        num_args = 0..=1,
        default_missing_value = "",
        help = help(config::settings::OLLAMA_PORT)
    )]
    ollama_port: Option<String>,
    #[arg(long, value_name = config::settings::ORIGIN.value, help = help(config::settings::ORIGIN))]
    origin: Vec<String>,
    #[arg(
        long,
        value_name = config::settings::MODELS_PATH.value,
        help = help(config::settings::MODELS_PATH)
    )]
    models_path: Option<String>,
    #[arg(
        long,
        value_name = config::settings::KEEP_ALIVE.value,
        allow_hyphen_values = true,
        help = help(config::settings::KEEP_ALIVE)
    )]
    keep_alive: Option<String>,
    #[arg(
        long,
        value_name = config::settings::MAX_QUEUE.value,
        allow_negative_numbers = true,
        help = help(config::settings::MAX_QUEUE)
    )]
    max_queue: Option<String>,
    #[arg(
        long,
        value_name = config::settings::MAX_QUEUE_TOKENS.value,
        allow_negative_numbers = true,
        help = help(config::settings::MAX_QUEUE_TOKENS)
    )]
    max_queue_tokens: Option<String>,
    #[arg(
        long,
        value_name = config::settings::CONTEXT.value,
        allow_negative_numbers = true,
        help = help(config::settings::CONTEXT)
    )]
    context: Option<String>,
    #[arg(
        long,
        value_name = config::settings::MAX_PULLS.value,
        allow_negative_numbers = true,
        help = help(config::settings::MAX_PULLS)
    )]
    max_pulls: Option<String>,
    #[arg(
        long,
        value_name = config::settings::AUTO_PULL.value,
        num_args = 0..=1,
        default_missing_value = "on",
        help = help(config::settings::AUTO_PULL)
    )]
    auto_pull: Option<String>,
    #[arg(
        long,
        value_name = config::settings::GRACE.value,
        allow_hyphen_values = true,
        help = help(config::settings::GRACE)
    )]
    grace: Option<String>,
    #[arg(
        long,
        value_name = config::settings::IDLE_EXIT.value,
        allow_hyphen_values = true,
        help = help(config::settings::IDLE_EXIT)
    )]
    idle_exit: Option<String>,
    #[arg(
        long,
        value_name = config::settings::REGISTRY_MIRROR.value,
        help = help(config::settings::REGISTRY_MIRROR)
    )]
    registry_mirror: Vec<String>,
    #[arg(
        long,
        value_name = config::settings::INSECURE_REGISTRY.value,
        help = help(config::settings::INSECURE_REGISTRY)
    )]
    insecure_registry: Vec<String>,
    #[arg(
        long,
        value_name = config::settings::REGISTRY_PRIVATE_HOST.value,
        help = help(config::settings::REGISTRY_PRIVATE_HOST)
    )]
    registry_private_host: Vec<String>,
    #[arg(
        long,
        value_name = config::settings::REGISTRY_CA.value,
        help = help(config::settings::REGISTRY_CA)
    )]
    registry_ca: Vec<String>,
    #[arg(
        long,
        value_name = config::settings::HUB_URL.value,
        help = help(config::settings::HUB_URL)
    )]
    hub_url: Option<String>,
    #[arg(
        long,
        value_name = config::settings::SIGNATURE_KEY.value,
        help = help(config::settings::SIGNATURE_KEY)
    )]
    signature_key: Vec<String>,
    #[arg(long, value_name = config::settings::LOG.value, help = help(config::settings::LOG))]
    log: Option<String>,
    #[arg(
        long,
        value_name = config::settings::LOG_FORMAT.value,
        help = help(config::settings::LOG_FORMAT)
    )]
    log_format: Option<String>,
    #[arg(
        long,
        value_name = config::settings::LOG_FILE.value,
        help = help(config::settings::LOG_FILE)
    )]
    log_file: Option<String>,
    #[arg(
        long,
        value_name = config::settings::NO_LOG_FILE.value,
        num_args = 0..=1,
        default_missing_value = "on",
        help = help(config::settings::NO_LOG_FILE)
    )]
    no_log_file: Option<String>,
    #[arg(
        long,
        value_name = config::settings::CORE_DUMPS.value,
        num_args = 0..=1,
        default_missing_value = "on",
        help = help(config::settings::CORE_DUMPS)
    )]
    core_dumps: Option<String>,
    #[arg(
        long,
        value_name = config::settings::RECORD_REQUESTS.value,
        num_args = 0..=1,
        default_missing_value = "on",
        help = help(config::settings::RECORD_REQUESTS)
    )]
    record_requests: Option<String>,
    #[arg(
        long,
        value_name = config::settings::NO_METRICS.value,
        num_args = 0..=1,
        default_missing_value = "on",
        help = help(config::settings::NO_METRICS)
    )]
    no_metrics: Option<String>,
}

pub(super) fn run(args: Args, file: Option<PathBuf>) -> Result<ExitCode, CliError> {
    let sources = Sources::of_process(args.into_raw(), file);
    // Takes descriptors and variables over, which has to happen before threads start.
    let inherited = Inherited::from_environment()?;
    let mut callers = Some(Callers::of(&inherited));
    serve(sources, inherited, &mut callers).inspect_err(|error| {
        if let (Some(callers), Some(text)) = (callers, error.text()) {
            callers.tell(&text);
        }
    })
}

/// Takes `callers` away once the daemon serves: the sockets are its own to close then.
fn serve(
    sources: Sources,
    inherited: Vec<Inherited>,
    callers: &mut Option<Callers>,
) -> Result<ExitCode, CliError> {
    let (config, holds) = sources.shown()?;
    harden(config.core_dumps.value);
    give_memory_back();
    let logging = start_logging(&config)
        .map_err(|source| DaemonError::Io { doing: "start threads".to_owned(), source })?;
    let open_files = raise_descriptor_limit();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        models_path = %config.models_path.value.display(),
        open_files,
        process = hardened(),
        "modeld starts"
    );
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("modeld")
        .enable_all()
        .build()
        .map_err(|source| DaemonError::Io { doing: "start threads".to_owned(), source })?;
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::on_signals()
            .map_err(|source| DaemonError::Io { doing: "handle signals".to_owned(), source })?;
        let engines = WorkerFactory::new(WorkerConfig {
            log: Some(logging.control.clone()),
            core_dumps: config.core_dumps.value,
            ..WorkerConfig::default()
        })
        .map_err(|source| DaemonError::Io { doing: "start threads".to_owned(), source })?;
        let parts = Parts {
            engines: Arc::new(engines),
            inherited,
            variables: Variables::of_process(),
            log: logging.book.clone(),
            log_control: logging.control.clone(),
            reload: Some(Reload { sources, holds, log: logging.control.clone() }),
        };
        let bound = Daemon::build(&config, parts, shutdown).await?;
        drop(callers.take());
        Ok::<_, DaemonError>(bound.run().await)
    });
    // A blocking read of an upload must not keep the process.
    runtime.shutdown_background();
    match outcome? {
        Outcome::Drained | Outcome::CutShort | Outcome::Unused => Ok(ExitCode::Success),
        Outcome::Forced => Ok(ExitCode::Interrupted),
    }
}

impl Args {
    pub(super) fn into_raw(self) -> RawConfig {
        let Self {
            socket,
            tcp,
            socket_group,
            require_token,
            tls,
            tls_cert,
            tls_key,
            containers,
            ollama_port,
            origin,
            models_path,
            keep_alive,
            max_queue,
            max_queue_tokens,
            context,
            max_pulls,
            auto_pull,
            grace,
            idle_exit,
            registry_mirror,
            insecure_registry,
            registry_private_host,
            registry_ca,
            hub_url,
            signature_key,
            log,
            log_format,
            log_file,
            no_log_file,
            core_dumps,
            record_requests,
            no_metrics,
        } = self;
        RawConfig {
            socket,
            tcp,
            socket_group,
            require_token,
            tls,
            tls_cert,
            tls_key,
            containers,
            ollama_port,
            origin: listed(origin),
            models_path,
            keep_alive,
            max_queue,
            max_queue_tokens,
            context,
            max_pulls,
            auto_pull,
            grace,
            idle_exit,
            registry_mirror: listed(registry_mirror),
            insecure_registry: listed(insecure_registry),
            registry_private_host: listed(registry_private_host),
            registry_ca: listed(registry_ca),
            hub_url,
            signature_key: listed(signature_key),
            log,
            log_format,
            log_file,
            no_log_file,
            core_dumps,
            record_requests,
            no_metrics,
        }
    }
}

/// A flag that may be given several times, as the one text that a variable would hold.
fn listed(values: Vec<String>) -> Option<String> {
    (!values.is_empty()).then(|| values.join(","))
}

fn help(setting: config::Setting) -> String {
    let default = match setting.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    format!("{} [env: {}]{default}", setting.meaning, setting.env)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory as _, Parser as _};

    use super::super::app::{Cli, Command};
    use super::*;
    use crate::config::SETTINGS;

    fn flags_of_serve() -> BTreeSet<String> {
        let cli = Cli::command();
        let serve = cli.find_subcommand("serve").unwrap();
        let own = serve.get_arguments().filter_map(|a| a.get_long());
        own.filter(|l| !["host", "config"].contains(l)).map(|l| format!("--{l}")).collect()
    }

    #[test]
    fn the_table_of_settings_lists_every_flag() {
        let table: BTreeSet<String> = SETTINGS.iter().map(|s| s.flag.to_owned()).collect();
        assert_eq!(flags_of_serve(), table);
    }

    #[test]
    fn flags_reach_the_settings() {
        let parse = |args: &[&str]| match Cli::try_parse_from(args).unwrap().command {
            Command::Serve(args) => args.into_raw(),
            other => panic!("{other:?}"),
        };
        assert_eq!(parse(&["modeld", "serve", "--tcp"]).tcp.as_deref(), Some(""));
        let bare = parse(&["modeld", "serve", "--ollama-port", "--origin", "a", "--origin", "b"]);
        assert_eq!((bare.ollama_port.as_deref(), bare.origin.as_deref()), (Some(""), Some("a,b")));
        let raw = parse(&["modeld", "serve", "--tcp", "12500", "--keep-alive", "-1"]);
        assert_eq!(raw.tcp.as_deref(), Some("12500"));
        assert_eq!(raw.keep_alive.as_deref(), Some("-1"));
        assert_eq!(parse(&["modeld", "serve"]), RawConfig::default());
        // What is below zero is for the setting to refuse, or to understand.
        let raw = parse(&["modeld", "serve", "--idle-exit", "-1", "--grace", "-5s"]);
        assert_eq!((raw.idle_exit.as_deref(), raw.grace.as_deref()), (Some("-1"), Some("-5s")));
        let raw = parse(&["modeld", "serve", "--max-queue", "-1", "--context", "-1"]);
        assert_eq!((raw.max_queue.as_deref(), raw.context.as_deref()), (Some("-1"), Some("-1")));
    }

    #[test]
    fn unit_files_use_only_flags_that_exist() {
        let units = [
            include_str!("../../systemd/modeld.service"),
            include_str!("../../systemd/modeld.socket"),
            include_str!("../../launchd/org.modeld.plist"),
        ];
        let flags = flags_of_serve();
        let mut seen = 0;
        for unit in units {
            let commands = unit
                .lines()
                .filter(|l| l.starts_with("ExecStart=") || l.trim().starts_with("<string>--"));
            for word in
                commands.flat_map(|l| l.split(|c: char| c.is_whitespace() || "<>".contains(c)))
            {
                if let Some(flag) = word.split('=').next().filter(|w| w.starts_with("--")) {
                    assert!(flags.contains(flag), "{flag} in {unit}");
                }
                seen += usize::from(word == "serve");
            }
        }
        assert_eq!(seen, 1, "the service runs modeld serve");
    }
}
