use std::str::FromStr as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::config::{Config, LogFormat};

/// Sends log lines to stderr.
///
/// Call it once per process; further calls change nothing.
pub fn start_logging(config: &Config) {
    let filter = Targets::from_str(&config.log.value)
        .unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match config.log_format.value {
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
        LogFormat::Text if !config.log_time => lines.without_time().with_filter(filter).boxed(),
        LogFormat::Text => lines.with_filter(filter).boxed(),
    };
    // A second subscriber is refused; that happens only where a test already set one.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}
