use super::{CliError, Printer};
use crate::client::Client;

/// Show everything that is known about a model
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which one
    model: String,
    /// Print what the OpenAI endpoint answers
    #[arg(long)]
    openai: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    printer.json(&client.inspect(&args.model, args.openai).await?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn either_view_is_printed_as_json() {
        let fake = Fake::start().await;
        let native = fake.run(&["inspect", "smollm2"]).await;
        let value: serde_json::Value = serde_json::from_str(&native.out).unwrap();
        assert_eq!(value["config"]["architecture"], "llama");
        let openai = fake.run(&["show", "--openai", "smollm2"]).await;
        let value: serde_json::Value = serde_json::from_str(&openai.out).unwrap();
        assert_eq!(value["object"], "model");
    }

    #[tokio::test]
    async fn the_daemon_s_own_words_are_shown() {
        let fake = Fake::start().await;
        let done = fake.run(&["inspect", "nope"]).await;
        assert_eq!(done.err, "modeld: no model nope\n");
        assert_eq!(done.code, 1);
    }
}
