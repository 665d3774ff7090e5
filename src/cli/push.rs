use super::progress::Show;
use super::pull::{token_for, transfer};
use super::{CliError, Printer};
use crate::client::Client;
use crate::config::Env;

/// Upload a model to its registry, under its own name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which one; modeld tag gives it the name to push it under
    pub(super) model: String,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let model = args.model.as_str();
    let token = token_for(model, &Env::from_process());
    let show = Show { progress: true, result: true };
    let pushing = transfer(printer, show, async || client.push(model, token.as_deref()).await);
    tokio::select! {
        pushed = pushing => pushed,
        _ = tokio::signal::ctrl_c() => {
            printer.note("\nStopped; what the registry has already is not sent again");
            Err(CliError::Interrupted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn a_push_prints_its_result() {
        let fake = Fake::start().await;
        let done = fake.run(&["push", "me/good"]).await;
        assert_eq!(done.out, "Model pushed successfully\n");
        assert_eq!(fake.last(), "POST /models/me/good/push");
    }
}
