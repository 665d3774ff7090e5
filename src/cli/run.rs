use std::io::{IsTerminal as _, Read as _};

use super::progress::Show;
use super::repl::{self, Terminal};
use super::{CliError, Printer, chat, pull};
use crate::client::Client;
use crate::client::wire::Message;

/// The largest prompt that is read from a pipe; the daemon takes no larger body.
const MAX_PROMPT: u64 = 64 * 1024 * 1024;

/// Ask a model, or talk to it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which one
    model: String,
    /// What to ask; without it, and on a terminal, a conversation starts. Piped input is added
    prompt: Vec<String>,
    /// Only load the model
    #[arg(short, long, conflicts_with = "prompt")]
    detach: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let model = args.model.as_str();
    fetch_missing(client, model, printer).await?;
    if args.detach {
        return client.preload(model).await.map_err(CliError::from);
    }
    let prompt = args.prompt.join(" ");
    if prompt.is_empty() && std::io::stdin().is_terminal() {
        let terminal = Terminal::of_process()?;
        return repl::talk(client, model, terminal, printer).await;
    }
    let prompt = if std::io::stdin().is_terminal() { prompt } else { with_piped(prompt).await? };
    if prompt.trim().is_empty() {
        return Err(CliError::Usage("there is nothing to ask: the prompt is empty".to_owned()));
    }
    tokio::select! {
        asked = once(client, model, prompt, printer) => asked,
        _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
    }
}

/// Pulls a model that is not in the store; standard output stays the answer's.
pub(super) async fn fetch_missing(
    client: &Client,
    model: &str,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let found = tokio::select! {
        found = client.inspect(model, false) => found,
        _ = tokio::signal::ctrl_c() => return Err(CliError::Interrupted),
    };
    match found {
        Err(error) if error.is_not_found() => {}
        found => return found.map(drop).map_err(CliError::from),
    }
    let show = Show { progress: true, result: false };
    let pulled = pull::get(model, client, printer, show).await;
    pulled.map_err(|error| chat::explain_missing(error, model))
}

/// One question, one answer; nothing but the answer goes to stdout.
pub(super) async fn once(
    client: &Client,
    model: &str,
    prompt: String,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let messages = [Message { role: "user", content: prompt }];
    let mut answer = String::new();
    match chat::ask(client, model, &messages, &mut answer, printer).await {
        Ok(end) => chat::close(&answer, end, printer),
        Err(error) => {
            if !matches!(error, CliError::Output(_)) {
                chat::close(&answer, chat::End::Complete, printer)?;
            }
            Err(error)
        }
    }
}

async fn with_piped(mut prompt: String) -> Result<String, CliError> {
    let read = tokio::task::spawn_blocking(|| {
        let mut piped = String::new();
        std::io::stdin().lock().take(MAX_PROMPT).read_to_string(&mut piped).map(|_| piped)
    });
    let read = tokio::select! {
        read = read => read,
        _ = tokio::signal::ctrl_c() => return Err(CliError::Interrupted),
    };
    let failed = |e: &dyn std::fmt::Display| CliError::Failed(format!("cannot read stdin: {e}"));
    let piped = read.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
    if !prompt.is_empty() && !piped.is_empty() {
        prompt.push_str("\n\n");
    }
    prompt.push_str(&piped);
    Ok(prompt)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn the_answer_and_nothing_else_goes_to_stdout() {
        let fake = Fake::start().await;
        let done = fake.ask("smollm2", "hi").await;
        assert_eq!((done.out.as_str(), done.err.as_str()), ("you said: hi\n", ""));
        assert_eq!(done.code, 0);
    }

    #[tokio::test]
    async fn a_stream_that_fails_keeps_what_came_and_says_why() {
        let fake = Fake::start().await;
        let done = fake.ask("smollm2", "fail").await;
        assert_eq!(done.out, "half an\n");
        assert_eq!(done.err, "modeld: the model's process died\n");
        assert_eq!(done.code, 1);
    }

    #[tokio::test]
    async fn a_stream_that_just_stops_is_no_answer() {
        let fake = Fake::start().await;
        let done = fake.ask("smollm2", "stop").await;
        assert_eq!(done.out, "half an\n");
        assert!(done.err.contains("broke before its answer was complete"), "{}", done.err);
        assert_eq!(done.code, 1);
    }

    #[tokio::test]
    async fn an_answer_at_the_token_limit_says_so() {
        let fake = Fake::start().await;
        let done = fake.ask("smollm2", "long").await;
        assert_eq!(done.out, "half an\n");
        assert_eq!(done.err, "(the answer ended at the token limit)\n");
        assert_eq!(done.code, 0);
    }

    #[tokio::test]
    async fn a_missing_model_says_how_to_get_one() {
        let fake = Fake::start().await;
        let done = fake.run(&["run", "-d", "nope"]).await;
        assert_eq!(
            done.err,
            "modeld: there is no model nope in the store, and it could not be pulled: \
             no model nope\n"
        );
        assert_eq!((done.out.as_str(), done.code), ("", 1));
        assert_eq!(fake.all(), ["GET /models/nope", "POST /models/create nope"]);
    }

    #[tokio::test]
    async fn a_model_that_is_not_there_is_pulled_first() {
        let fake = Fake::start().await;
        let done = fake.run(&["run", "-d", "good"]).await;
        assert_eq!((done.out.as_str(), done.code), ("", 0), "{}", done.err);
        assert_eq!(
            fake.all(),
            [
                "GET /models/good",
                "POST /models/create good",
                "POST /engines/v1/chat/completions preload"
            ]
        );
    }

    #[tokio::test]
    async fn detach_only_loads() {
        let fake = Fake::start().await;
        let done = fake.run(&["run", "-d", "smollm2"]).await;
        assert_eq!((done.out.as_str(), done.code), ("", 0));
        assert_eq!(fake.last(), "POST /engines/v1/chat/completions preload");
    }
}
