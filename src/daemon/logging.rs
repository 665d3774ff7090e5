use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::log_control::LogControl;
use crate::config::{Config, LogFormat};
use crate::logbook::{Limits, Logbook};

/// Sends log lines to stderr, and to a file where the configuration names one; answers that. The
/// file's lines are text with the time, whatever those of stderr look like.
///
/// What is logged is for `control` to say.
///
/// Call it once per process; further calls change nothing.
pub fn start_logging(config: &Config, control: &LogControl) -> Option<Logbook> {
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match config.log_format.value {
        LogFormat::Json => lines.json().with_filter(control.filter()).boxed(),
        LogFormat::Text if !config.log_time => {
            lines.without_time().with_filter(control.filter()).boxed()
        }
        LogFormat::Text => lines.with_filter(control.filter()).boxed(),
    };
    let opened =
        config.log_file.value.as_deref().map(|path| (path, Logbook::open(path, Limits::default())));
    let (log, problem) = match opened {
        None => (None, None),
        Some((_, Ok(log))) => (Some(log), None),
        Some((path, Err(error))) => (None, Some((path, error))),
    };
    let file = log.clone().map(|log| {
        let lines = fmt::layer().with_writer(move || log.writer()).with_ansi(false);
        lines.with_filter(control.filter())
    });
    // A second subscriber is refused; that happens only where a test already set one.
    let _ = tracing_subscriber::registry().with(layer).with(file).try_init();
    if let Some((path, error)) = problem {
        tracing::warn!(
            path = %path.display(),
            %error,
            "the log goes to standard error alone; `--no-log-file` says that this is meant"
        );
    }
    log
}
