use serde::Deserialize;
use serde_json::json;

use super::{CliError, Printer};
use crate::client::Client;

/// Show or change what the running daemon logs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to log from now on, as `modeld serve --log` has it: info, or warn,modeld::scheduler=debug;
    /// models that are loaded already keep theirs
    filter: Option<String>,
}

#[derive(Deserialize)]
struct LogLevel {
    filter: String,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let path = "/modeld/log-level";
    let now: LogLevel = match args.filter {
        None => client.get(path).await?,
        Some(filter) => client.put(path, &json!({ "filter": filter })).await?,
    };
    printer.line(&now.filter)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn it_is_shown_or_changed() {
        let fake = Fake::start().await;
        assert_eq!(fake.run(&["log-level"]).await.out, "info\n");
        assert_eq!(fake.run(&["log-level", "warn,modeld=debug"]).await.out, "warn,modeld=debug\n");
        let sent = r#"PUT /modeld/log-level {"filter":"warn,modeld=debug"}"#;
        assert_eq!(fake.last(), sent);
    }
}
