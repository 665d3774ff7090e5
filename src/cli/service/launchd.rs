use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::args::{Install, Uninstall};
use super::context::{Context, Settings};
use super::files::{self, Comment, Written};
use super::install::heeded;
use crate::cli::{CliError, Printer};

/// The agent as it is in the source.
const AGENT: &str = include_str!("../../../launchd/org.modeld.plist");
const LABEL: &str = "org.modeld";
/// The home that it names.
const SHIPPED_HOME: &str = "/Users/NAME";
/// Where it listens in that home.
const SHIPPED_SOCKET: &str = "<string>/Users/NAME/.modeld/run/modeld.sock</string>";
/// What the program is to do.
const SERVE: &str = "<string>serve</string>";
/// What has it wait for a connection, and what does not.
const NOT_AT_LOGIN: &str = "<key>RunAtLoad</key>\n    <false/>";
const AT_LOGIN: &str = "<key>RunAtLoad</key>\n    <true/>";
/// The program that it starts.
const SHIPPED_PROGRAM: &str = "<string>/usr/local/bin/modeld</string>";

/// Writes the agent and has launchd start it.
pub(super) fn install(
    context: &Context<'_>,
    args: Install,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let path = path(context);
    let mut text = filled(AGENT, &context.program, &context.home, &context.settings)?;
    if args.always {
        text = text.replace(NOT_AT_LOGIN, AT_LOGIN);
    }
    // launchd makes sockets, and no directories for them.
    if let Some(dir) = context.socket.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|e| CliError::Failed(format!("cannot create {}: {e}", dir.display())))?;
    }
    let done = files::put(&path, &text, Comment::Xml, Some(AGENT), args.force)?;
    let word = match done {
        Written::Made => "wrote",
        Written::Updated => "updated",
        Written::Unchanged => "unchanged",
        Written::Left => {
            return Err(CliError::Failed(format!(
                "{} is not what this command writes and was left alone; --force replaces it",
                path.display()
            )));
        }
    };
    printer.line(format!("{word:<10} {}", path.display()))?;
    let (domain, service) = targets(context);
    let loaded = launchctl(context, &["print", &service])?.is_success();
    if loaded && done != Written::Unchanged {
        // launchd reads a file once.
        launchctl(context, &["bootout", &service])?;
    }
    if loaded && done == Written::Unchanged {
        printer.line(format!("unchanged  {LABEL} is loaded"))?;
    } else if !args.no_start {
        let file = path.display().to_string();
        let started = launchctl(context, &["bootstrap", &domain, &file])?;
        if !started.is_success() {
            return Err(CliError::Failed(format!("launchctl bootstrap: {}", started.problem())));
        }
        printer.line(format!("started    {LABEL}"))?;
    }
    printer.note(format!(
        "\n{} is started {}, with the socket {}.\nUndo: modeld service uninstall.",
        context.program.display(),
        if args.always { "at login" } else { "with the first connection" },
        context.socket.display()
    ));
    heeded(context, args.always, printer);
    Ok(())
}

/// Has launchd end it and removes the agent.
pub(super) fn uninstall(
    context: &Context<'_>,
    args: Uninstall,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let (_, service) = targets(context);
    if launchctl(context, &["bootout", &service])?.is_success() {
        printer.line(format!("stopped    {LABEL}"))?;
    }
    let path = path(context);
    match files::remove(&path, Some(AGENT), args.force)? {
        Some(true) => printer.line(format!("removed    {}", path.display()))?,
        Some(false) => printer.line("unchanged  nothing was installed")?,
        None => {
            return Err(CliError::Failed(format!(
                "{} stays: it is not what `install` wrote; remove it yourself, or use --force",
                path.display()
            )));
        }
    }
    for (what, path) in context.staying.iter().filter(|(_, path)| path.exists()) {
        printer.note(format!("Not touched: {what} in {}", path.display()));
    }
    Ok(())
}

/// Whether launchd has the agent, and a line about it.
pub(super) fn state(context: &Context<'_>) -> (bool, String) {
    let (_, service) = targets(context);
    match launchctl(context, &["print", &service]) {
        Ok(done) if done.is_success() => {
            let state = done.out.lines().find_map(|line| line.trim().strip_prefix("state = "));
            (true, format!("{LABEL} is {}  {}", state.unwrap_or("loaded"), path(context).display()))
        }
        Ok(_) => (false, "not installed: modeld service install".to_owned()),
        Err(error) => (false, error.to_string()),
    }
}

fn path(context: &Context<'_>) -> PathBuf {
    context.agents.join(format!("{LABEL}.plist"))
}

fn targets(context: &Context<'_>) -> (String, String) {
    let domain = format!("gui/{}", context.uid);
    let service = format!("{domain}/{LABEL}");
    (domain, service)
}

fn launchctl(context: &Context<'_>, args: &[&str]) -> Result<crate::doctor::Finished, CliError> {
    context.programs.run("launchctl", args).map_err(|e| {
        CliError::Failed(format!(
            "launchctl: {e}; `modeld serve` runs the daemon in the foreground"
        ))
    })
}

/// The agent's text with the paths of this program and this home, and what the settings say.
fn filled(
    text: &str,
    program: &Path,
    home: &Path,
    settings: &Settings,
) -> Result<String, CliError> {
    let program = format!("<string>{}</string>", escaped(program)?);
    let mut text = text.replace(SHIPPED_PROGRAM, &program);
    if let Some(file) = &settings.file {
        let named =
            format!("<string>--config</string>\n        <string>{}</string>", escaped(file)?);
        text = text.replace(SERVE, &format!("{named}\n        {SERVE}"));
    }
    if let Some((socket, _)) = &settings.socket {
        let socket = format!("<string>{}</string>", escaped(socket)?);
        text = text.replace(SHIPPED_SOCKET, &socket);
    }
    Ok(text.replace(SHIPPED_HOME, &escaped(home)?))
}

fn escaped(path: &Path) -> Result<String, CliError> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
        CliError::Failed(format!("{} cannot be named in a plist", path.display()))
    })?;
    Ok(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Manager, Place};
    use super::*;

    #[test]
    fn the_agent_starts_this_program() {
        let (program, home) = (Path::new("/a & b/modeld"), Path::new("/Users/u"));
        let text = filled(AGENT, program, home, &Settings::default()).unwrap();
        assert!(text.contains("<string>/Users/u/.modeld/run/modeld.sock</string>"), "{text}");
        assert!(!text.contains(SHIPPED_HOME), "{text}");
        assert!(text.contains("<string>/a &amp; b/modeld</string>"), "{text}");
        assert!(!text.contains(SHIPPED_PROGRAM));
        let settings = Settings {
            socket: Some(("/tmp/m.sock".into(), crate::config::Origin::Default)),
            file: Some("/a & b/c.toml".into()),
            ..Settings::default()
        };
        let text = filled(AGENT, program, home, &settings).unwrap();
        assert!(text.contains("<string>/tmp/m.sock</string>"), "{text}");
        let words = text.split("<key>ProgramArguments</key>").nth(1).unwrap();
        let words: Vec<&str> = words.split("<string>").skip(1).take(4).collect();
        assert!(words[1].starts_with("--config<") && words[3].starts_with("serve<"), "{words:?}");
        assert!(words[2].starts_with("/a &amp; b/c.toml<"), "{words:?}");
    }

    #[test]
    fn it_comes_and_goes() {
        let place = Place::new();
        let manager = Manager::default();
        let context = place.context(&manager);
        let install = || place.capture(|p| super::install(&context, Install::default(), p));
        install().0.unwrap();
        assert!(path(&context).exists());
        assert!(install().1.contains("unchanged"));
        let (loaded, said) = state(&context);
        assert!(loaded && said.contains("org.modeld is loaded"), "{said}");
        let uninstall = || place.capture(|p| super::uninstall(&context, Uninstall::default(), p));
        uninstall().0.unwrap();
        assert!(!path(&context).exists());
        assert!(uninstall().1.contains("nothing was installed"));
    }
}
