use std::path::PathBuf;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::{CliError, Printer};
use crate::client::Client;
use crate::client::wire::{Import, ImportLine};
use crate::config::path_variable;

/// Take in models that other programs have on this machine, without copying them
///
/// Looks where Docker Model Runner, Ollama, LM Studio, llama.cpp and the Hugging Face libraries keep
/// models (--scan), or takes GGUF files by path. The bytes are shared: as a reflink where the file
/// system can, as a hard link on the same file system, as a watched reference elsewhere.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// GGUF files, or directories of them
    #[arg(value_name = "PATH", required_unless_present = "scan")]
    paths: Vec<PathBuf>,
    /// Look where other programs keep their models
    #[arg(long)]
    scan: bool,
    /// What to call the model, for a single PATH
    #[arg(long, value_name = "MODEL")]
    name: Option<String>,
    /// Say what would be imported, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let Args { paths, scan, name, dry_run } = args;
    let mut request = if scan { places() } else { Import::default() };
    for path in paths {
        let path = std::path::absolute(&path)
            .map_err(|e| CliError::Usage(format!("{}: {e}", path.display())))?;
        request.paths.push(path.display().to_string());
    }
    (request.name, request.dry_run) = (name, dry_run);
    let mut lines = client.import(&request).await?;
    let bar = match printer.err_is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::hidden(),
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let (mut taken, mut skipped) = (0u64, 0u64);
    while let Some(line) = lines.next().await? {
        match line {
            ImportLine::Reading { path, bytes } => {
                bar.set_message(format!("reading {path} ({})", HumanBytes(bytes)));
            }
            ImportLine::Imported { origin, tags, bytes, how, notes, id } => {
                taken = taken.saturating_add(1);
                let name = match tags.as_slice() {
                    [] => id.unwrap_or_else(|| "(no name)".to_owned()),
                    tags => tags.join(", "),
                };
                let how = how.map(|how| format!(", {how}")).unwrap_or_default();
                let line = format!("{name}  {} from {origin}{how}", HumanBytes(bytes));
                bar.suspend(|| printer.line(line))?;
                for note in notes {
                    bar.suspend(|| printer.note(format!("  {note}")));
                }
            }
            ImportLine::Skipped { origin, what, why } => {
                skipped = skipped.saturating_add(1);
                bar.suspend(|| printer.note(format!("skipped {what} of {origin}: {why}")));
            }
            ImportLine::Error { message } => return Err(CliError::Failed(message)),
            ImportLine::Success => {}
        }
    }
    bar.finish_and_clear();
    let verb = if dry_run { "would be imported" } else { "imported" };
    printer.note(format!("{taken} {verb}, {skipped} skipped"));
    Ok(())
}

/// Where the other programs keep their models, by their own variables and defaults.
fn places() -> Import {
    let dirs = directories::BaseDirs::new();
    let home = |path: &str| dirs.as_ref().map(|dirs| dirs.home_dir().join(path));
    let cache = |path: &str| dirs.as_ref().map(|dirs| dirs.cache_dir().join(path));
    let hub = || Some(path_variable("HF_HOME")?.join("hub"));
    let texts = |all: Vec<Option<PathBuf>>| -> Vec<String> {
        let all = all.into_iter().flatten().filter_map(|path| std::path::absolute(path).ok());
        all.filter(|path| path.is_dir()).map(|path| path.display().to_string()).collect()
    };
    Import {
        docker: texts(vec![home(".docker/models")]),
        ollama: texts(vec![
            path_variable("OLLAMA_MODELS").or_else(|| home(".ollama/models")),
            Some("/usr/share/ollama/.ollama/models".into()),
        ]),
        lm_studio: texts(vec![home(".lmstudio/models"), home(".cache/lm-studio/models")]),
        llama_cpp: texts(vec![path_variable("LLAMA_CACHE").or_else(|| cache("llama.cpp"))]),
        hub_cache: texts(vec![
            path_variable("HF_HUB_CACHE").or_else(hub).or_else(|| home(".cache/huggingface/hub")),
        ]),
        ..Import::default()
    }
}
