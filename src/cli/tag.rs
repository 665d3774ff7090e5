use super::{CliError, Printer, names};
use crate::client::Client;

/// Give a model another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: a name or an id
    source: String,
    /// The name to give it
    target: String,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let (repo, tag) = names::split_target(&args.target);
    client.tag(&args.source, repo, tag).await?;
    printer.line(format!("Model {:?} tagged successfully with {:?}", args.source, args.target))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn repository_and_tag_go_separately() {
        let fake = Fake::start().await;
        let done = fake.run(&["tag", "smollm2", "localhost:5000/mine:v1"]).await;
        assert_eq!(
            done.out,
            "Model \"smollm2\" tagged successfully with \"localhost:5000/mine:v1\"\n"
        );
        assert_eq!(fake.last(), "POST /models/smollm2/tag?repo=localhost:5000/mine&tag=v1");
    }
}
