use super::{CliError, Printer};
use crate::client::wire::Removed;
use crate::client::{Client, ClientError};

/// Remove models from the store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(required = true)]
    models: Vec<String>,
    /// Remove a model with several tags or with requests at work, which are ended
    #[arg(short, long)]
    force: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let mut failed = false;
    for model in &args.models {
        match client.remove(model, args.force).await {
            Ok(removed) => {
                for step in removed {
                    printer.line(match step {
                        Removed::Untagged(tag) => format!("Untagged: {tag}"),
                        Removed::Deleted(id) => format!("Deleted: {id}"),
                    })?;
                }
            }
            // One that cannot go does not keep the others.
            Err(ClientError::Status { message, .. }) => {
                failed = true;
                printer.error(message);
            }
            Err(other) => return Err(other.into()),
        }
    }
    if failed { Err(CliError::Reported) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn one_that_cannot_go_does_not_keep_the_others() {
        let fake = Fake::start().await;
        let done = fake.run(&["rm", "-f", "nope", "smollm2"]).await;
        assert_eq!(done.err, "modeld: no model nope\n");
        let id = "a".repeat(64);
        assert_eq!(
            done.out,
            format!("Untagged: docker.io/ai/smollm2:latest\nDeleted: sha256:{id}\n")
        );
        assert_eq!(done.code, 1);
        assert_eq!(fake.last(), "DELETE /models/smollm2?force=true");
    }
}
