use serde_json::{Map, Value, json};

use super::{CliError, Printer};
use crate::client::Client;

/// Say how a model is loaded, how long it stays and what its requests get by default
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    show: Option<Show>,
    /// Which one
    #[arg(required = true)]
    model: Option<String>,
    /// Tokens of context; -1: all that it has, 0: as the daemon says
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    context_size: Option<i64>,
    /// How long it stays once idle, as 5m; 0: not at all, -1: until its memory is needed
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    keep_alive: Option<String>,
    /// Let it think as long as it likes
    #[arg(long, conflicts_with = "no_think")]
    think: bool,
    /// Let it answer without thinking
    #[arg(long)]
    no_think: bool,
    /// First take back everything that is configured
    #[arg(long)]
    reset: bool,
    /// Flags of llama.cpp's server, in the place of the earlier ones
    #[arg(last = true)]
    flags: Vec<String>,
}

/// What to do instead.
#[derive(Debug, clap::Subcommand)]
pub enum Show {
    /// Print what is configured, as JSON
    Show {
        /// Of this model alone
        model: Option<String>,
    },
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let Args { show, model, context_size, keep_alive, think, no_think, reset, flags } = args;
    if let Some(Show::Show { model }) = show {
        return printer.json(&client.configurations(model.as_deref()).await?);
    }
    let mut body = Map::new();
    if reset {
        for field in ["context-size", "keep_alive", "llamacpp", "runtime-flags"] {
            body.insert(field.to_owned(), Value::Null);
        }
    }
    let budget = match (think, no_think) {
        (true, _) => Some(json!({"reasoning-budget": -1})),
        (false, true) => Some(json!({"reasoning-budget": 0})),
        (false, false) => None,
    };
    let flags = (!flags.is_empty()).then(|| json!(flags));
    for (field, value) in [
        ("context-size", context_size.map(Value::from)),
        ("keep_alive", keep_alive.map(Value::from)),
        ("llamacpp", budget),
        ("runtime-flags", flags),
    ] {
        body.extend(value.map(|value| (field.to_owned(), value)));
    }
    if body.is_empty() {
        let text = "say what to configure: --context-size, --keep-alive, --think, --no-think, \
                    --reset, or flags behind --";
        return Err(CliError::Usage(text.to_owned()));
    }
    // clap has seen to it that there is one.
    body.insert("model".to_owned(), model.into());
    client.configure(&Value::Object(body)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::*;

    async fn sent(args: &[&str]) -> Value {
        let fake = Fake::start().await;
        let done = fake.run(&[&["configure"], args].concat()).await;
        assert_eq!((done.code, &*done.out), (0, ""), "{}", done.err);
        let line = fake.last();
        let body = line.strip_prefix("POST /engines/_configure ").expect("a body");
        serde_json::from_str(body).expect("JSON")
    }

    #[tokio::test]
    async fn only_what_is_typed_is_sent() {
        let all =
            ["m", "--context-size", "-1", "--keep-alive", "-1", "--no-think", "--", "-t", "-1"];
        assert_eq!(
            sent(&all).await,
            json!({"model": "m", "context-size": -1, "keep_alive": "-1",
                   "llamacpp": {"reasoning-budget": 0}, "runtime-flags": ["-t", "-1"]})
        );
        let think = json!({"model": "m", "llamacpp": {"reasoning-budget": -1}});
        assert_eq!(sent(&["--think", "m"]).await, think);
    }

    #[tokio::test]
    async fn a_reset_takes_back_what_is_not_said_anew() {
        let sent = sent(&["m", "--reset", "--keep-alive", "1h"]).await;
        let back = json!({"model": "m", "context-size": null, "keep_alive": "1h",
                          "llamacpp": null, "runtime-flags": null});
        assert_eq!(sent, back);
    }

    #[tokio::test]
    async fn what_is_configured_is_shown() {
        let fake = Fake::start().await;
        let done = fake.run(&["configure", "show"]).await;
        assert!(done.out.contains("\"Mode\": \"completion\""), "{}", done.out);
        fake.run(&["configure", "show", "a/b:c"]).await;
        assert_eq!(fake.last(), "GET /engines/_configure?model=a%2Fb%3Ac");
    }

    #[tokio::test]
    async fn a_model_and_something_to_say_are_needed() {
        let fake = Fake::absent();
        for args in [&["configure"][..], &["configure", "m"], &["configure", "--think"]] {
            assert_eq!(fake.run(args).await.code, 2, "{args:?}");
        }
    }
}
