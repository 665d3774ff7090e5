use std::path::PathBuf;

use super::elsewhere::{self, Files};
use super::{CliError, Printer, config_edit, config_show, tcp};
use crate::client::Client;
use crate::client::upkeep::Setting;
use crate::config::{
    ConfigFile, RawConfig, SYSTEM_FILE, Sources, Variables, or_none, read_file, shown,
};
use crate::daemon::Daemon;

/// Show, check and change the settings of modeld serve
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do with them.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    Show(config_show::Args),
    /// Look for what is wrong in a settings file
    Check {
        /// Which one; by default those that modeld serve reads
        file: Option<PathBuf>,
    },
    /// Print which settings files are read, the one that counts most first
    Path,
    Set(config_edit::Set),
    Unset(config_edit::Unset),
    /// Open your settings file in an editor; what cannot be used does not take its place
    Edit,
    /// Have a running daemon read the files again
    Reload,
}

impl Args {
    /// Whether this is for a daemon that runs.
    pub(super) fn asks_the_daemon(&self) -> bool {
        matches!(self.verb, Verb::Reload)
    }
}

pub(super) fn run(
    args: Args,
    file: Option<PathBuf>,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let sources = Sources::of_process(RawConfig::default(), file);
    match args.verb {
        Verb::Show(args) => config_show::run(args, sources, printer),
        Verb::Check { file } => check(file, sources, printer),
        Verb::Path => path(&sources, printer),
        Verb::Set(args) => {
            config_edit::set(args, &sources, printer)?;
            elsewhere::warn(Files::Settings, &sources, printer);
            Ok(())
        }
        Verb::Edit => {
            config_edit::edit(&sources, printer)?;
            elsewhere::warn(Files::Settings, &sources, printer);
            Ok(())
        }
        Verb::Unset(args) => {
            config_edit::unset(&args, &sources, printer)?;
            elsewhere::warn(Files::Settings, &sources, printer);
            Ok(())
        }
        Verb::Reload => Err(CliError::Usage("this one is for a running daemon".to_owned())),
    }
}

/// `modeld config reload`.
pub(super) async fn reload(
    client: &Client,
    sources: &Sources,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let reloaded = client.reload().await?;
    for Setting { key, from, to } in &reloaded.applied {
        let (from, to) = (or_none(from), or_none(to));
        printer.line(format!("{key}: {to} (was {from})"))?;
    }
    for Setting { key, from, to } in &reloaded.needs_restart {
        let (from, to) = (or_none(from), or_none(to));
        printer.line(format!("{key}: {from} until a restart, then {to}"))?;
    }
    if reloaded.applied.is_empty() && reloaded.needs_restart.is_empty() {
        printer.line("Nothing has changed.")?;
    }
    if tcp::is_own(client, sources) {
        elsewhere::warn_of(Files::Settings, client, sources, printer).await;
    }
    Ok(())
}

/// What would be wrong with a file in the place of the user's own, or with everything that is said.
fn check(file: Option<PathBuf>, sources: Sources, printer: &mut Printer) -> Result<(), CliError> {
    let Some(path) = file else {
        let (config, _) = sources.shown()?;
        Daemon::check(&config, &Variables::of_process())?;
        config.notes.iter().for_each(|note| printer.note(format!("modeld: {note}")));
        let read = sources.files().into_iter().map(|(path, _)| path).filter(|path| path.exists());
        let read: Vec<String> = read.map(|path| path.display().to_string()).collect();
        return match read.as_slice() {
            [] => printer.line("ok (no settings file)"),
            read => printer.line(format!("ok: {}", read.join(", "))),
        };
    };
    let path = sources.env.current_dir.join(path);
    let text = read_file(&path, true)?.unwrap_or_default();
    let mut env = sources.env.clone();
    // The file alone is looked at, not what other places say.
    env.vars.clear();
    env.files = vec![ConfigFile::parse(&path, &text, env.home.as_deref())?];
    let (config, _) = shown(&RawConfig::default(), &env)?;
    Daemon::check(&config, &Variables::of_process())?;
    printer.line(format!("ok: {}", path.display()))
}

fn path(sources: &Sources, printer: &mut Printer) -> Result<(), CliError> {
    for (path, _) in sources.files() {
        printer.line(path.display().to_string())?;
        if !path.exists() {
            printer.note(format!("({} does not exist)", path.display()));
        }
    }
    if sources.user_file().is_none() {
        printer.note(format!("(there is no home, so that {SYSTEM_FILE} is all)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn a_reload_tells_what_changed_and_what_has_to_wait() {
        let fake = Fake::start().await;
        let done = fake.run(&["config", "reload"]).await;
        assert_eq!(done.out, "keep-alive: 1h (was 5m)\ntcp: off until a restart, then 5\n");
        assert_eq!(fake.last(), "POST /modeld/reload");
    }
}
