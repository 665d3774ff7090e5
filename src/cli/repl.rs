use tokio::sync::mpsc;

use super::{CliError, Printer, chat};
use crate::client::Client;
use crate::client::wire::Message;

const PROMPT: &str = "> ";
const HELP: &str = "/bye or Ctrl-D leaves, Ctrl-C stops an answer, /clear forgets the conversation";

/// What a person at a terminal does: lines that end with the input, and Ctrl-C.
pub(super) struct Terminal {
    /// Closed at the end of the input (Ctrl-D).
    pub lines: mpsc::Receiver<String>,
    /// One for each Ctrl-C.
    pub interrupts: mpsc::Receiver<()>,
}

impl Terminal {
    /// The process's own. A thread reads the lines: a read of a terminal cannot be cancelled.
    pub(super) fn of_process() -> Result<Self, CliError> {
        let (line, lines) = mpsc::channel(16);
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || {
                for text in std::io::stdin().lines().map_while(Result::ok) {
                    if line.blocking_send(text).is_err() {
                        return;
                    }
                }
            })
            .map_err(|e| CliError::Failed(format!("cannot read the terminal: {e}")))?;
        let (interrupt, interrupts) = mpsc::channel(1);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if interrupt.send(()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { lines, interrupts })
    }
}

/// A conversation, until the person leaves.
pub(super) async fn talk(
    client: &Client,
    model: &str,
    mut terminal: Terminal,
    printer: &mut Printer,
) -> Result<(), CliError> {
    // Fails early where the model is missing, and loads it while the first question is typed.
    tokio::select! {
        found = client.inspect(model, false) => drop(found?),
        Some(()) = terminal.interrupts.recv() => return Err(CliError::Interrupted),
    }
    let warm = client.clone();
    let name = model.to_owned();
    let loading = tokio::spawn(async move { warm.preload(&name).await });
    let mut messages: Vec<Message> = Vec::new();
    loop {
        printer.prompt(PROMPT);
        let line = tokio::select! {
            line = terminal.lines.recv() => line,
            Some(()) = terminal.interrupts.recv() => {
                printer.note(format!("\n({HELP})"));
                continue;
            }
        };
        match line.as_deref().map(str::trim) {
            None => {
                printer.note("");
                break;
            }
            Some("/bye" | "/exit" | "/quit") => break,
            Some("") => {}
            Some("/clear") => messages.clear(),
            Some("/help" | "/?") => printer.note(HELP),
            Some(command) if is_command(command) => {
                printer.note(format!("{command} is no command; {HELP}"));
            }
            Some(question) => {
                messages.push(Message { role: "user", content: question.to_owned() });
                reply(client, model, &mut messages, &mut terminal, printer).await?;
            }
        }
    }
    loading.abort();
    Ok(())
}

/// Prints the next answer and adds it to the conversation; a question without any answer is
/// taken back, so that it can be asked again.
async fn reply(
    client: &Client,
    model: &str,
    messages: &mut Vec<Message>,
    terminal: &mut Terminal,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let mut answer = String::new();
    let asked = tokio::select! {
        asked = chat::ask(client, model, messages, &mut answer, printer) => asked,
        Some(()) = terminal.interrupts.recv() => Err(CliError::Interrupted),
    };
    let end = *asked.as_ref().unwrap_or(&chat::End::Complete);
    if !matches!(asked, Err(CliError::Output(_))) {
        chat::close(&answer, end, printer)?;
    }
    if answer.is_empty() && asked.is_err() {
        messages.pop();
    } else {
        messages.push(Message { role: "assistant", content: answer });
    }
    match asked {
        Ok(_) => Ok(()),
        Err(CliError::Interrupted) => {
            printer.note("(stopped)");
            Ok(())
        }
        // What the daemon says about one question does not end the conversation; its absence does.
        Err(CliError::Failed(text)) => {
            printer.error(text);
            Ok(())
        }
        Err(CliError::Client(error @ crate::client::ClientError::Status { .. })) => {
            printer.error(CliError::Client(error).text().unwrap_or_default());
            Ok(())
        }
        Err(other) => Err(other),
    }
}

/// `/etc/passwd explain` is a question, `/hlep` a mistake.
fn is_command(line: &str) -> bool {
    line.strip_prefix('/').is_some_and(|word| word.chars().all(|c| c.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn a_conversation_until_the_end_of_the_input() {
        let fake = Fake::start().await;
        let done = fake.talk("smollm2", &["hi", "", "/help", "there"], false).await;
        assert_eq!(done.out, "you said: hi\nyou said: hi|you said: hi|there\n");
        assert_eq!(done.code, 0);
    }

    #[tokio::test]
    async fn bye_leaves_and_clear_forgets() {
        let fake = Fake::start().await;
        let done = fake.talk("smollm2", &["hi", "/clear", "there", "/bye", "no"], false).await;
        assert_eq!(done.out, "you said: hi\nyou said: there\n");
    }

    #[tokio::test]
    async fn ctrl_c_stops_the_answer_and_not_the_conversation() {
        let fake = Fake::start().await;
        let done = fake.talk("smollm2", &["hang"], true).await;
        assert_eq!(done.out, "half an\n");
        assert!(done.err.contains("(stopped)"), "{}", done.err);
        assert_eq!(done.code, 0);
    }

    #[tokio::test]
    async fn a_failed_answer_does_not_end_the_conversation() {
        let fake = Fake::start().await;
        let done = fake.talk("smollm2", &["fail", "/clear", "hi"], false).await;
        assert_eq!(done.out, "half an\nyou said: hi\n");
        assert!(done.err.contains("the model's process died"), "{}", done.err);
    }

    #[tokio::test]
    async fn a_missing_model_is_noticed_before_the_first_question() {
        let fake = Fake::start().await;
        let done = fake.talk("nope", &[], false).await;
        assert_eq!(done.err, "modeld: no model nope\n");
        assert_eq!(done.code, 1);
    }
}
