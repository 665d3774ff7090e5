use super::{CliError, Printer};
use crate::client::Client;
use crate::client::wire::Unload;

/// Unload models and free their memory; busy ones stay
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which ones
    #[arg(required_unless_present = "all")]
    models: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "models")]
    all: bool,
    /// Only those on this backend
    #[arg(long, value_name = "BACKEND")]
    backend: Option<String>,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let what =
        Unload { all: args.all, backend: args.backend.unwrap_or_default(), models: args.models };
    match client.unload(&what).await?.unloaded_runners {
        0 if what.all => printer.line("No models are running."),
        0 => printer.line("No such model(s) running."),
        count => printer.line(format!("Unloaded {count} model(s).")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn what_was_unloaded_is_counted() {
        let fake = Fake::start().await;
        assert_eq!(fake.run(&["unload", "smollm2"]).await.out, "Unloaded 1 model(s).\n");
        assert_eq!(fake.run(&["stop", "nope"]).await.out, "No such model(s) running.\n");
        let backend = fake.run(&["unload", "--all", "--backend", "vllm"]).await;
        assert_eq!(backend.out, "No models are running.\n");
    }

    #[tokio::test]
    async fn models_or_all_but_not_both() {
        let fake = Fake::absent();
        assert_eq!(fake.run(&["unload"]).await.code, 2);
        assert_eq!(fake.run(&["unload", "--all", "m"]).await.code, 2);
    }
}
