use super::confirm::confirm;
use super::{CliError, Printer};
use crate::client::Client;
use crate::gguf::human_bytes;

/// Remove every model and download
///
/// Files of other programs stay where they are. Asks first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask, and end requests that are at work
    #[arg(short, long)]
    force: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    if !args.force {
        let usage = client.usage().await?;
        let (count, bytes) = (usage.models.len(), human_bytes(usage.models_disk_usage));
        let question = format!("Remove all {count} models and every download ({bytes})?");
        if !confirm(printer, &question, false)? {
            printer.note("Nothing was removed.");
            return Ok(());
        }
    }
    client.purge(args.force).await?;
    printer.line("All models were removed.")
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn by_force_it_asks_nobody() {
        let fake = Fake::start().await;
        let done = fake.run(&["purge", "--force"]).await;
        assert_eq!((done.out.as_str(), done.code), ("All models were removed.\n", 0));
        assert_eq!(fake.all(), ["DELETE /models/purge?force=true"]);
    }
}
