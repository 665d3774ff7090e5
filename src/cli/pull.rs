use std::future::Future;
use std::time::Duration;

use http::StatusCode;

use super::progress::{Ended, Show, follow};
use super::{CliError, Printer};
use crate::client::wire::Create;
use crate::client::{Client, ClientError, Response};
use crate::config::Env;
use crate::domain::ModelRef;

/// What is waited before each further attempt.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Get a model from its registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which one: smollm2, ai/smollm2:135M-Q4_0, hf.co/org/repo:Q4_K_M
    model: String,
    /// Leave at once; the daemon goes on alone
    #[arg(short, long)]
    detach: bool,
    /// Say nothing but warnings and what goes wrong
    #[arg(short, long)]
    quiet: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let model = args.model.as_str();
    let show = Show { progress: !args.quiet, result: !args.quiet };
    if !args.detach {
        return get(model, client, printer, show).await;
    }
    let token = token_for(model, &Env::from_process());
    let create = Create { from: model, bearer_token: token.as_deref(), detach: true };
    retrying(printer, async |_| client.create(&create).await).await?;
    if !args.quiet {
        printer.note(format!("Pulling {model} in the background; modeld transfers shows how far"));
    }
    Ok(())
}

/// Pulls a model and shows how far it is.
pub(super) async fn get(
    model: &str,
    client: &Client,
    printer: &mut Printer,
    show: Show,
) -> Result<(), CliError> {
    let token = token_for(model, &Env::from_process());
    let create = Create { from: model, bearer_token: token.as_deref(), detach: false };
    let pulling = transfer(printer, show, async || client.create(&create).await);
    tokio::select! {
        pulled = pulling => pulled?,
        _ = tokio::signal::ctrl_c() => {
            printer.note(format!("\nStopped; what came is kept: modeld pull {model} goes on"));
            return Err(CliError::Interrupted);
        }
    }
    Ok(())
}

/// Begins a transfer and follows it to its end; begins again where trying again may help.
pub(super) async fn transfer<F>(
    printer: &mut Printer,
    show: Show,
    begin: impl Fn() -> F,
) -> Result<(), CliError>
where
    F: Future<Output = Result<Response, ClientError>>,
{
    let ended = retrying(printer, async |printer: &mut Printer| {
        let response = begin().await?;
        if response.status() == StatusCode::ACCEPTED {
            return Ok(Ended::default());
        }
        follow(response, printer, show).await
    })
    .await?;
    if show.result && !ended.message.is_empty() {
        printer.line(&ended.message)?;
    }
    match ended.failure {
        Some(message) => Err(CliError::Failed(message)),
        None => Ok(()),
    }
}

/// Tries again where the daemon or what is behind it may be back soon.
async fn retrying<T>(
    printer: &mut Printer,
    attempt: impl AsyncFn(&mut Printer) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let mut reached = false;
    for pause in PAUSES {
        match attempt(printer).await {
            Err(error) if passes(&error, reached) => {
                reached = true;
                printer.note(format!("{error}; trying again in {} s", pause.as_secs()));
                tokio::time::sleep(pause).await;
            }
            done => return done,
        }
    }
    attempt(printer).await
}

/// A daemon that was never there will not come; one that was there may be restarting.
fn passes(error: &ClientError, reached: bool) -> bool {
    match error {
        ClientError::Broken(_) | ClientError::Status { status: 502..=504, .. } => true,
        ClientError::NotRunning { .. } => reached,
        _ => false,
    }
}

/// The user's token of Hugging Face, for models that come from there and for nobody else.
pub(super) fn token_for(model: &str, env: &Env) -> Option<String> {
    match ModelRef::parse(model) {
        Ok(ModelRef::Named(name)) if name.registry() == "huggingface.co" => {
            env.get(Env::HF_TOKEN).map(str::to_owned)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;

    #[tokio::test]
    async fn a_pull_prints_its_result_and_notes_what_matters() {
        let fake = Fake::start().await;
        let done = fake.run(&["pull", "good"]).await;
        assert_eq!(done.out, "Model pulled successfully\n");
        insta::assert_snapshot!(done.err);
        assert_eq!(done.code, 0);
        let quiet = fake.run(&["pull", "--quiet", "good"]).await;
        assert_eq!((quiet.out.as_str(), quiet.code), ("", 0));
        assert_eq!(quiet.err, "warning: an old name\n");
    }

    #[tokio::test]
    async fn a_pull_that_fails_on_its_way_says_why() {
        let fake = Fake::start().await;
        let done = fake.run(&["pull", "bad"]).await;
        assert_eq!((done.out.as_str(), done.code), ("", 1));
        assert!(done.err.ends_with("modeld: the disk is full\n"), "{}", done.err);
        assert_eq!(fake.all().len(), 1);
    }

    #[tokio::test]
    async fn a_refusal_is_shown_as_it_is_and_not_repeated() {
        let fake = Fake::start().await;
        let done = fake.run(&["pull", "nope"]).await;
        assert_eq!((done.out.as_str(), done.err.as_str()), ("", "modeld: no model nope\n"));
        assert_eq!((done.code, fake.all().len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_five_times() {
        let fake = Fake::start().await;
        for model in ["unavailable", "truncated"] {
            let before = fake.all().len();
            let begun = tokio::time::Instant::now();
            let done = fake.run(&["pull", "-q", model]).await;
            assert_eq!((done.code, fake.all().len() - before), (1, 5), "{model}: {}", done.err);
            assert!(begun.elapsed() >= Duration::from_secs(15), "{model}");
            assert!(done.err.contains("trying again in 8 s"), "{model}: {}", done.err);
        }
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_not_waited_for() {
        let done = Fake::absent().run(&["pull", "good"]).await;
        assert_eq!(done.code, 69);
    }

    #[tokio::test]
    async fn detached_it_leaves_at_once() {
        let fake = Fake::start().await;
        let done = fake.run(&["pull", "--detach", "good"]).await;
        assert_eq!((done.out.as_str(), done.code), ("", 0));
        assert!(done.err.contains("modeld transfers"), "{}", done.err);
    }

    #[test]
    fn the_token_goes_to_hugging_face_alone() {
        let env = Env::default().with(Env::HF_TOKEN, "hf_secret");
        for model in ["hf.co/org/repo", "huggingface.co/Org/Repo:Q4_K_M"] {
            assert_eq!(token_for(model, &env).as_deref(), Some("hf_secret"), "{model}");
        }
        for model in ["smollm2", "evil.example/hf.co/x", "hf.co.evil.example/x/y", "", "../x"] {
            assert_eq!(token_for(model, &env), None, "{model}");
        }
    }
}
