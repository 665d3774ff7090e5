use std::collections::{BTreeSet, HashMap};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Printer;
use crate::client::wire::Progress;
use crate::client::{ClientError, Response};
use crate::gguf::human_bytes;

const TEMPLATE: &str =
    "{prefix} {bar:30} {bytes:>11}/{total_bytes:<11} {binary_bytes_per_sec:>14} {eta}";

/// What a person wants to see of a transfer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Show {
    /// How far it is, on standard error.
    pub progress: bool,
    /// The last word, on standard output.
    pub result: bool,
}

/// How a transfer ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The daemon's last word.
    pub message: String,
    /// Or why it failed.
    pub failure: Option<String>,
}

/// Reads a progress stream to its end: bars on a terminal, else a line for each layer that is done.
///
/// # Errors
/// Those of the connection; `Broken` for a stream without an end.
pub(super) async fn follow(
    response: Response,
    printer: &mut Printer,
    show: Show,
) -> Result<Ended, ClientError> {
    let mut lines = response.lines();
    let mut view = View::new(printer.err_is_terminal(), show);
    while let Some(line) = lines.next().await? {
        if line.trim().is_empty() {
            continue;
        }
        let progress: Progress = serde_json::from_str(&line).map_err(|fault| {
            ClientError::Unreadable { what: "a transfer".to_owned(), problem: fault.to_string() }
        })?;
        match progress.kind.as_str() {
            "success" => {
                return Ok(Ended { message: progress.message, failure: None });
            }
            "error" => {
                let message = progress.message;
                let text = message.strip_prefix("Error: ").unwrap_or(&message).to_owned();
                return Ok(Ended { message: String::new(), failure: Some(text) });
            }
            "warning" => view.note(printer, &format!("warning: {}", progress.message)),
            _ => view.update(printer, &progress),
        }
    }
    Err(ClientError::Broken("it ended without a result".to_owned()))
}

/// What is on the screen; bars go with it.
struct View {
    show: Show,
    bars: Option<MultiProgress>,
    by_layer: HashMap<String, ProgressBar>,
    done: BTreeSet<String>,
    status: String,
}

impl View {
    fn new(terminal: bool, show: Show) -> Self {
        let bars = (terminal && show.progress).then(MultiProgress::new);
        Self { show, bars, by_layer: HashMap::new(), done: BTreeSet::new(), status: String::new() }
    }

    fn update(&mut self, printer: &mut Printer, progress: &Progress) {
        let layer = &progress.layer;
        if layer.id.is_empty() {
            // It is repeated while nothing happens.
            if self.show.progress && self.status != progress.message {
                self.status.clone_from(&progress.message);
                self.note(printer, &progress.message);
            }
            return;
        }
        let name = short(&layer.id);
        let complete = layer.current >= layer.size;
        let Some(bars) = &self.bars else {
            if complete && self.show.progress && self.done.insert(layer.id.clone()) {
                printer.note(format!("{name}: {} done", human_bytes(layer.size)));
            }
            return;
        };
        let bar = self.by_layer.entry(layer.id.clone()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(layer.size));
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            // The rate counts what moves now, not what was there before.
            bar.set_position(layer.current);
            bar.reset_eta();
            bar
        });
        bar.set_position(layer.current);
        if complete && !bar.is_finished() {
            bar.finish();
        }
    }

    /// A line above the bars.
    fn note(&self, printer: &mut Printer, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| printer.note(text)),
            None => printer.note(text),
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }
}

fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}
