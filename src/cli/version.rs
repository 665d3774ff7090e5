use super::{CliError, Printer};
use crate::client::{Client, ClientError};

/// Show the versions of client and daemon
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn run(
    Args {}: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    printer.line("Client:")?;
    printer.line(format!(" Version:    {}", env!("CARGO_PKG_VERSION")))?;
    printer.line(format!(" OS/Arch:    {}/{}", os(), arch()))?;
    let server = match client.version().await {
        Ok(server) => server.version,
        Err(ClientError::NotRunning { .. } | ClientError::NoPermission { .. }) => {
            "(not reachable)".to_owned()
        }
        Err(other) => return Err(other.into()),
    };
    printer.line("\nServer:")?;
    printer.line(format!(" Version:    {server}"))?;
    printer.line(format!(" Endpoint:   {}", client.endpoint()))
}

/// The names that `docker version` uses.
fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn both_versions_or_one() {
        let fake = Fake::start().await;
        let done = fake.run(&["version"]).await;
        assert!(done.out.contains("\nServer:\n Version:    9.9.9\n"), "{}", done.out);
        let absent = Fake::absent().run(&["version"]).await;
        assert!(absent.out.contains("\nServer:\n Version:    (not reachable)\n"), "{}", absent.out);
        assert_eq!(absent.code, 0);
    }
}
