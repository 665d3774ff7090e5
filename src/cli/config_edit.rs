use std::io;
use std::path::{Path, PathBuf};

use super::{CliError, Printer};
use crate::config::{
    ConfigError, ConfigFile, EditLock, RawConfig, SETTINGS, Setting, Sources, lock, read_file,
    shown, with_value, without, write,
};

/// Write a value into your settings file
#[derive(Debug, clap::Args)]
pub struct Set {
    /// Which setting, as the flag of modeld serve without --
    key: String,
    /// Its value; several for a list
    #[arg(required = true, allow_hyphen_values = true)]
    values: Vec<String>,
}

/// Remove a key from your settings file
#[derive(Debug, clap::Args)]
pub struct Unset {
    /// Which one
    key: String,
}

pub(super) fn set(args: &Set, sources: &Sources, printer: &mut Printer) -> Result<(), CliError> {
    let Set { key, values } = args;
    let edited = Edited::open(sources)?;
    let text = with_value(&edited.path, &edited.text, key, values)?;
    edited.check(&text, sources)?;
    edited.save(&text)?;
    printer.line(format!("{key} is set in {}", edited.path.display()))?;
    tell(key, sources, printer);
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
        return printer.line(format!("{key} is not in {}", edited.path.display()));
    };
    edited.save(&text)?;
    printer.line(format!("{key} is gone from {}", edited.path.display()))?;
    // What else is wrong was so before, and this may have been a step to put it right.
    if let Err(problem) = edited.check(&text, sources) {
        printer.note(format!("modeld: {problem}"));
    }
    tell(key, sources, printer);
    Ok(())
}

/// What is left to do, and what counts more than the file.
fn tell(key: &str, sources: &Sources, printer: &mut Printer) {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.key() == key) else { return };
    let Setting { env, .. } = setting;
    if sources.env.get(env).is_some() {
        printer.note(format!("{env} is set and counts more than the file"));
    }
    printer.note(if setting.reloads() {
        "A running daemon takes it over with: modeld config reload"
    } else {
        "A running daemon needs a restart for it"
    });
}

/// The user's file while it is being changed.
struct Edited {
    path: PathBuf,
    text: String,
    _lock: EditLock,
}

impl Edited {
    fn open(sources: &Sources) -> Result<Self, CliError> {
        let path = sources.user_file().ok_or_else(|| {
            let text =
                "there is no directory for settings: HOME is not set; name a file with --config";
            CliError::Usage(text.to_owned())
        })?;
        let lock = lock(&path).map_err(|error| failed(&path, &error))?;
        let text = read_file(&path, false)?.unwrap_or_default();
        Ok(Self { path, text, _lock: lock })
    }

    /// Whether modeld would start with it, were it not for what other places say.
    fn check(&self, text: &str, sources: &Sources) -> Result<(), ConfigError> {
        let mut env = sources.env.clone();
        env.vars.clear();
        env.files = vec![ConfigFile::parse(&self.path, text, env.home.as_deref())?];
        shown(&RawConfig::default(), &env).map(|_| ())
    }

    fn save(&self, text: &str) -> Result<(), CliError> {
        write(&self.path, text).map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::Failed(format!("cannot write {}: {error}", path.display()))
}
