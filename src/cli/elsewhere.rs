use super::{Printer, token};
use crate::client::Client;
use crate::config::{DaemonHost, Sources, socket_path};
use crate::daemon::is_running_beside;
use crate::doctor::Told;

/// What of a user's files a command has changed or means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    Settings,
    Tokens,
}

/// Says so where this user's daemon runs and goes by other files than those that a command has just
/// changed, which needed no daemon. A socket that somebody holds for one is left alone: to ask there
/// would start it.
pub(super) fn warn(files: Files, sources: &Sources, printer: &mut Printer) {
    let env = sources.read_usable().env;
    let Ok(socket) = socket_path(None, &env) else { return };
    if !is_running_beside(&socket.value) {
        return;
    }
    let client = Client::new(&DaemonHost::Unix(socket.value));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        runtime.block_on(warn_of(files, &client, sources, printer));
    }
}

/// The same of a daemon that is known to run.
pub(super) async fn warn_of(
    files: Files,
    client: &Client,
    sources: &Sources,
    printer: &mut Printer,
) {
    // Who names a file knows which one it is.
    if files == Files::Settings && sources.named.is_some() {
        return;
    }
    let Some(told) = Told::by(client).await else { return };
    let dir = token::directory(&sources.env).ok();
    let found = match files {
        Files::Settings => {
            sources.user_file().and_then(|own| told.other_settings(&own, dir.as_deref()))
        }
        Files::Tokens => dir.and_then(|own| told.other_tokens(&own)),
    };
    if let Some(found) = found {
        printer.note(format!("modeld: {}: {}", found.message, found.fix));
    }
}
