use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt, reload};

use crate::config::{Config, LogFormat};
use crate::logbook::{
    Dropped, JOURNAL_SOCKET, Journal, Limits, LogControl, Logbook, Queue, parse_filter,
};

/// How long the last lines may take at the end: whoever reads them may have stopped.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log of this process. When it goes, what was logged is written, within a second.
#[derive(Debug)]
pub struct Logging {
    /// The log's files, where they are kept.
    pub book: Option<Logbook>,
    /// Which lines there are.
    pub control: LogControl,
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.control.flush(LAST_LINES);
    }
}

/// Sends log lines to stderr, or to systemd's journal where that is what stderr is, and to a file
/// where the configuration names one. None of them can hold up whoever logs. The file's lines are
/// text with the time, whatever those of stderr look like.
///
/// Call it once per process; further calls change nothing.
///
/// # Errors
/// Those of creating a thread.
pub fn start_logging(config: &Config) -> io::Result<Logging> {
    // The configuration has seen to it that it can be read.
    let filter = parse_filter(&config.log.value)
        .unwrap_or_else(|_| Targets::new().with_default(LevelFilter::WARN));
    let (filter, handle) = reload::Layer::new(filter);
    let dropped = Dropped::default();
    let (console, console_queue) = console(config, &dropped)?;
    let opened = config
        .log_file
        .value
        .as_deref()
        .map(|path| (path, Logbook::open(path, Limits::default(), dropped.clone())));
    let (book, problem) = match opened {
        None => (None, None),
        Some((_, Ok(log))) => (Some(log), None),
        Some((path, Err(error))) => (None, Some((path, error))),
    };
    let file = book.as_ref().map(|log| {
        let queue = log.queue().clone();
        fmt::layer().with_writer(move || queue.writer()).with_ansi(false)
    });
    // A second subscriber is refused; that happens only where a test already set one.
    let _ = tracing_subscriber::registry().with(filter).with(console).with(file).try_init();
    hide_panics();
    if let Some((path, error)) = problem {
        tracing::warn!(
            path = %path.display(),
            %error,
            "the log goes to standard error alone; `--no-log-file` says that this is meant"
        );
    }
    let apply = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    let mut queues = vec![console_queue];
    queues.extend(book.as_ref().map(|log| log.queue().clone()));
    let control = LogControl::new(&config.log.value, apply, queues, dropped);
    Ok(Logging { book, control })
}

type Console<S> = Box<dyn Layer<S> + Send + Sync>;

/// What takes the place of standard error, and what its lines go through.
fn console<S>(config: &Config, dropped: &Dropped) -> io::Result<(Console<S>, Queue)>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let text = config.log_format.value == LogFormat::Text;
    // The journal gives each line a time of its own, so there is none in ours.
    let journal = (text && !config.log_time)
        .then(|| Journal::connect(Path::new(JOURNAL_SOCKET), dropped.clone()));
    if let Some(Ok((layer, queue))) = journal {
        return Ok((layer.boxed(), queue));
    }
    let queue = Queue::start("log-stderr", dropped.clone(), |line| io::stderr().write_all(line))?;
    let writer = queue.clone();
    let lines = fmt::layer().with_writer(move || writer.writer()).with_ansi(false);
    let layer = match config.log_format.value {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Text if !config.log_time => lines.without_time().boxed(),
        LogFormat::Text => lines.boxed(),
    };
    Ok((layer, queue))
}

/// A panic's message can quote the text that the code stumbled over, which may be a prompt; where it
/// happened is enough.
fn hide_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(place, thread, "a panic; please report it");
    }));
}
