use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::editor::Editor;
use super::{CliError, Printer};
use crate::config::{
    ConfigError, ConfigFile, RawConfig, SETTINGS, Setting, Sources, nearest_key, pairs, read_draft,
    read_file, shown, with_values, without, write,
};
use crate::files::{self, ChangeLock, lock_for_change};

/// What a new file begins with.
const BEGINNING: &str = "# Settings of `modeld serve`; `modeld config show` lists the keys.\n";

/// Write values into your settings file: KEY VALUE, or several KEY=VALUE at once
///
/// Relative paths are those from where you stand; the file gets absolute ones.
#[derive(Debug, clap::Args)]
pub struct Set {
    /// Which setting, as the flag of modeld serve without --; or KEY=VALUE
    key: String,
    /// Its value, several for a list; or further pairs
    #[arg(allow_hyphen_values = true)]
    values: Vec<String>,
}

/// Remove a key from your settings file
#[derive(Debug, clap::Args)]
pub struct Unset {
    /// Which one
    key: String,
}

pub(super) fn set(args: Set, sources: &Sources, printer: &mut Printer) -> Result<(), CliError> {
    let words: Vec<String> = std::iter::once(args.key).chain(args.values).collect();
    let pairs = pairs(&words)?;
    let edited = Edited::open(sources)?;
    let text = with_values(&edited.path, &edited.text, &pairs, &sources.env.current_dir)?;
    let unfinished = check(&edited.path, &text, sources)?;
    edited.save(&text)?;
    for pair in &pairs {
        printer.line(format!("{} is set in {}", pair.key, edited.path.display()))?;
    }
    if let Some(unfinished) = unfinished {
        printer.note(format!("modeld: modeld serve will not start yet: {unfinished}"));
    }
    let keys: Vec<&str> = pairs.iter().map(|pair| pair.key.as_str()).collect();
    tell(&keys, sources, printer);
    Ok(())
}

pub(super) fn unset(
    args: &Unset,
    sources: &Sources,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let Unset { key } = args;
    let edited = Edited::open(sources)?;
    let Some(text) = without(&edited.path, &edited.text, key)? else {
        printer.line(format!("{key} is not in {}", edited.path.display()))?;
        if let Some(near) = nearest_key(key).filter(|near| near != key) {
            printer.note(format!("Did you mean {near}?"));
        }
        return Ok(());
    };
    edited.save(&text)?;
    printer.line(format!("{key} is gone from {}", edited.path.display()))?;
    // What else is wrong was so before, and this may have been a step to put it right.
    match check(&edited.path, &text, sources) {
        Ok(None) => {}
        Ok(Some(problem)) | Err(problem) => printer.note(format!("modeld: {problem}")),
    }
    tell(&[key], sources, printer);
    Ok(())
}

/// Has a person change a copy in an editor, which takes the file's place once it can be used. What
/// they wrote is never lost: where it cannot take that place, it stays and is named.
pub(super) fn edit(sources: &Sources, printer: &mut Printer) -> Result<(), CliError> {
    let path = user_file(sources)?;
    let before = read_file(&path, false)?;
    let begun = before.as_deref().unwrap_or(BEGINNING);
    let target = files::destination(&path);
    let dir = target.parent().unwrap_or(Path::new("/"));
    let failed = |error: &io::Error| {
        CliError::Failed(format!("cannot make a copy in {}: {error}", dir.display()))
    };
    files::make_private_dir(dir).map_err(|e| failed(&e))?;
    // An editor goes by the ending.
    let mut copy = tempfile::Builder::new();
    let copy = copy.prefix(".config-").suffix(".toml").tempfile_in(dir);
    let mut copy = copy.map_err(|e| failed(&e))?;
    copy.write_all(begun.as_bytes()).map_err(|e| failed(&e))?;
    let editor = Editor::new()?;
    let done = edited_copy(&editor, copy.path(), begun, &path, sources, printer).and_then(|done| {
        let Some((text, unfinished)) = done else { return Ok(None) };
        let edited = Edited::open(sources)?;
        if edited.text != before.as_deref().unwrap_or_default() {
            return Err(CliError::Failed(format!(
                "{} was changed by somebody else meanwhile and was left alone",
                path.display()
            )));
        }
        edited.save(&text)?;
        Ok(Some(unfinished))
    });
    match done {
        Ok(None) => return printer.line(format!("{} is unchanged", path.display())),
        Ok(Some(unfinished)) => {
            printer.line(format!("{} is changed", path.display()))?;
            if let Some(unfinished) = unfinished {
                printer.note(format!("modeld: modeld serve will not start yet: {unfinished}"));
            }
        }
        Err(error) => return Err(with_copy(error, copy, begun, printer)),
    }
    printer.note("A running daemon takes it over with: modeld config reload");
    Ok(())
}

/// What a person made of the copy, and what is left to do; `None`: they changed nothing. Asks them
/// again for as long as it cannot be used and they want to.
fn edited_copy(
    editor: &Editor,
    copy: &Path,
    begun: &str,
    path: &Path,
    sources: &Sources,
    printer: &mut Printer,
) -> Result<Option<(String, Option<ConfigError>)>, CliError> {
    loop {
        editor.open(copy)?;
        let read = read_draft(copy);
        if read.as_deref() == Ok(begun) {
            return Ok(None);
        }
        match read.and_then(|text| Ok((check(path, &text, sources)?, text))) {
            Ok((unfinished, text)) => return Ok(Some((text, unfinished))),
            Err(problem) => printer.error(problem.to_string()),
        }
        if !io::stdin().is_terminal() || !editor.ask("Edit it again?", printer)? {
            return Err(CliError::Unusable(format!("{} is as it was", path.display())));
        }
    }
}

/// An error that says where the copy stays, if somebody wrote anything into it.
fn with_copy(error: CliError, copy: NamedTempFile, begun: &str, printer: &mut Printer) -> CliError {
    match std::fs::read(copy.path()) {
        Ok(bytes) if bytes == begun.as_bytes() => return error,
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return error,
        Ok(_) | Err(_) => {}
    }
    let kept = match copy.into_temp_path().keep() {
        Ok(path) => format!("what you wrote is in {}", path.display()),
        Err(lost) => format!("what you wrote could not be kept: {}", lost.error),
    };
    match error {
        CliError::Config(_) | CliError::Unusable(_) => {
            CliError::Unusable(format!("{error}; {kept}"))
        }
        CliError::Failed(text) => CliError::Failed(format!("{text}; {kept}")),
        other => {
            printer.note(kept);
            other
        }
    }
}

/// What is left to do, and what counts more than the file.
fn tell(keys: &[&str], sources: &Sources, printer: &mut Printer) {
    let named = |setting: &&Setting| keys.contains(&setting.key());
    let settings: Vec<&Setting> = SETTINGS.iter().filter(named).collect();
    for Setting { env, .. } in &settings {
        if sources.env.get(env).is_some() {
            printer.note(format!("{env} is set and counts more than the file"));
        }
    }
    if settings.iter().any(|setting| !setting.reloads()) {
        printer.note("A running daemon needs a restart for it");
    } else if !settings.is_empty() {
        printer.note("A running daemon takes it over with: modeld config reload");
    }
}

fn user_file(sources: &Sources) -> Result<PathBuf, CliError> {
    sources.user_file().ok_or_else(|| {
        let text = "there is no directory for settings: HOME is not set; name a file with --config";
        CliError::Usage(text.to_owned())
    })
}

/// Whether modeld would start with a text as the user's file, were it not for what other places say.
/// What another place may complete is answered, and no error.
fn check(path: &Path, text: &str, sources: &Sources) -> Result<Option<ConfigError>, ConfigError> {
    let mut env = sources.env.clone();
    env.vars.clear();
    env.files = vec![ConfigFile::parse(path, text, env.home.as_deref())?];
    match shown(&RawConfig::default(), &env) {
        Ok(_) => Ok(None),
        Err(half @ ConfigError::HalfTls { .. }) => Ok(Some(half)),
        Err(other) => Err(other),
    }
}

/// The user's file while it is being changed.
struct Edited {
    path: PathBuf,
    text: String,
    _lock: ChangeLock,
}

impl Edited {
    fn open(sources: &Sources) -> Result<Self, CliError> {
        let path = user_file(sources)?;
        let lock = lock_for_change(&path).map_err(|error| failed(&path, &error))?;
        let text = read_file(&path, false)?.unwrap_or_default();
        Ok(Self { path, text, _lock: lock })
    }

    fn save(&self, text: &str) -> Result<(), CliError> {
        write(&self.path, text).map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!("cannot write {}: {error}", path.display()))
}
