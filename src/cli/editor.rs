use std::io;
use std::path::Path;

use tokio::process::Command;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::confirm::is_yes;
use super::{CliError, Printer};
use crate::config::editor;

/// The editor of the person at the terminal, while which Ctrl-C and Ctrl-\ are keys: the terminal
/// sends them to this process as well, and it must not go away under the editor.
pub(super) struct Editor {
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
}

impl Editor {
    /// Gets ready to open files.
    ///
    /// # Errors
    /// What the system refused.
    pub(super) fn new() -> Result<Self, CliError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self { runtime: Some(runtime.map_err(|e| cannot_start(&e))?) })
    }

    /// Has a person edit a file, until they leave the editor, which may be a command with arguments,
    /// as for git and others.
    ///
    /// # Errors
    /// Where it does not start or does not end well.
    pub(super) fn open(&self, file: &Path) -> Result<(), CliError> {
        let editor = editor();
        let mut command = Command::new("/bin/sh");
        // The shell in between gets the keys, too, and the editor the defaults of both.
        let line = format!("trap : INT QUIT; {editor} \"$@\"");
        command.arg("-c").arg(line).arg(&editor).arg(file);
        let ended = self.block_on(async {
            // Caught, not ignored: what is ignored would be so in the editor, too.
            let _keys = interrupts()?;
            command.status().await
        })?;
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(CliError::Failed(format!(
                "the editor {editor:?} ended with {status}, so nothing was changed; VISUAL or \
                 EDITOR names another one"
            ))),
            Err(error) => {
                Err(CliError::Failed(format!("cannot run the editor {editor:?}: {error}")))
            }
        }
    }

    /// Asks at the terminal. Once an editor was open, signals end nothing by themselves any more.
    ///
    /// # Errors
    /// [`CliError::Interrupted`]; where the answer cannot be read.
    pub(super) fn ask(&self, question: &str, printer: &mut Printer) -> Result<bool, CliError> {
        printer.prompt(&format!("{question} [y/N] "));
        self.block_on(async {
            let [mut interrupt, mut quit] = interrupts().map_err(|e| cannot_start(&e))?;
            let answer = tokio::task::spawn_blocking(|| {
                let mut answer = String::new();
                io::stdin().read_line(&mut answer).map(|_| answer)
            });
            let unread = |e: io::Error| CliError::Failed(format!("cannot read the answer: {e}"));
            tokio::select! {
                answer = answer => Ok(is_yes(&answer.map_err(|e| unread(e.into()))?.map_err(unread)?)),
                _ = interrupt.recv() => Err(CliError::Interrupted),
                _ = quit.recv() => Err(CliError::Interrupted),
            }
        })?
    }

    fn block_on<T>(&self, what: impl Future<Output = T>) -> Result<T, CliError> {
        let runtime = self.runtime.as_ref();
        let runtime = runtime.ok_or_else(|| CliError::Failed("the editor is closed".to_owned()))?;
        Ok(runtime.block_on(what))
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // A thread that waits for a line of input must not keep the process.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn interrupts() -> io::Result<[Signal; 2]> {
    Ok([signal(SignalKind::interrupt())?, signal(SignalKind::quit())?])
}

fn cannot_start(error: &io::Error) -> CliError {
    CliError::Failed(format!("cannot start: {error}"))
}
