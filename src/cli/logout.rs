use super::{CliError, Printer};
use crate::client::Client;

/// Forget a registry's login
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its host
    #[arg(default_value = "docker.io")]
    registry: String,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let done = client.log_out(&args.registry).await?;
    printer.line(match done.removed {
        true => format!("Logged out of {}", done.registry),
        false => format!("Not logged in to {}", done.registry),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn docker_hub_is_the_default() {
        let fake = Fake::start().await;
        assert_eq!(fake.run(&["logout"]).await.out, "Logged out of docker.io\n");
        assert_eq!(fake.last(), "DELETE /modeld/login?registry=docker.io");
        let other = fake.run(&["logout", "localhost:5000"]).await;
        assert_eq!((other.out.as_str(), other.code), ("Not logged in to localhost:5000\n", 0));
    }
}
