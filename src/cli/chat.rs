use super::{CliError, Printer};
use crate::client::wire::{Chat, ChatChunk, Message};
use crate::client::{Client, ClientError, SseEvent};

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The model was done.
    Complete,
    /// The token limit was reached.
    Length,
}

/// Asks, and prints the answer as it comes. What has been printed is in `answer` even when this
/// fails or is dropped; dropping it ends the request.
pub(super) async fn ask(
    client: &Client,
    model: &str,
    messages: &[Message],
    answer: &mut String,
    printer: &mut Printer,
) -> Result<End, CliError> {
    let chat = Chat { model, messages, stream: true };
    let mut events = client.chat(&chat).await?.events();
    let mut end = End::Complete;
    let mut waiting_said = false;
    loop {
        match events.next().await? {
            Some(SseEvent::Data(json)) => {
                let chunk: ChatChunk =
                    serde_json::from_str(&json).map_err(|e| ClientError::Unreadable {
                        what: "POST /engines/v1/chat/completions".to_owned(),
                        problem: e.to_string(),
                    })?;
                if let Some(error) = chunk.error {
                    return Err(CliError::Failed(error.message));
                }
                let Some(choice) = chunk.choices.into_iter().next() else { continue };
                if let Some(text) = choice.delta.content {
                    answer.push_str(&text);
                    printer.text(&text)?;
                }
                if choice.finish_reason.as_deref() == Some("length") {
                    end = End::Length;
                }
            }
            Some(SseEvent::Comment(text)) => {
                if printer.err_is_terminal() && !waiting_said && !text.is_empty() {
                    waiting_said = true;
                    printer.note(format!("({text})"));
                }
            }
            Some(SseEvent::Done) => return Ok(end),
            None => return Err(ClientError::Broken("it ended in the middle".to_owned()).into()),
        }
    }
}

/// Ends the line that the answer left open, and says if the answer is not whole.
pub(super) fn close(answer: &str, end: End, printer: &mut Printer) -> Result<(), CliError> {
    if !answer.is_empty() && !answer.ends_with('\n') {
        printer.text("\n")?;
    }
    if end == End::Length {
        printer.note("(the answer ended at the token limit)");
    }
    Ok(())
}

/// Says of a pull that failed why it was tried at all.
pub(super) fn explain_missing(error: CliError, model: &str) -> CliError {
    match error {
        CliError::Client(crate::client::ClientError::Status { message, .. })
        | CliError::Failed(message) => CliError::Failed(format!(
            "there is no model {model} in the store, and it could not be pulled: {message}"
        )),
        other => other,
    }
}
