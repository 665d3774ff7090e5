use std::collections::BTreeMap;

use serde::Serialize;

use super::{CliError, Printer};
use crate::client::{Client, ClientError};

/// Say whether the daemon is running
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    running: bool,
    backends: BTreeMap<String, String>,
    kind: &'static str,
    endpoint: String,
    endpoint_host: String,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let asked: Result<BTreeMap<String, String>, ClientError> = client.get("/engines/status").await;
    let (backends, absent) = match asked {
        Ok(backends) => (backends, None),
        Err(error @ ClientError::NotRunning { .. }) => (BTreeMap::new(), Some(error)),
        Err(other) => return Err(other.into()),
    };
    if args.json {
        let status = Status {
            running: absent.is_none(),
            backends,
            kind: "modeld",
            endpoint: client.endpoint(),
            endpoint_host: client.endpoint(),
        };
        let line = serde_json::to_string(&status)
            .map_err(|e| CliError::Failed(format!("cannot write JSON: {e}")))?;
        printer.line(line)?;
    } else if absent.is_none() {
        printer.line(format!("modeld is running at {}", client.endpoint()))?;
        printer.line("\nStatus:")?;
        for (backend, status) in backends {
            printer.line(format!("{backend}: {status}"))?;
        }
    }
    // The exit code answers the question, too.
    absent.map_or(Ok(()), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn a_running_daemon() {
        let fake = Fake::start().await;
        let place = format!("unix://{}", fake.socket().display());
        let text = fake.run(&["status"]).await;
        assert_eq!(
            text.out,
            format!("modeld is running at {place}\n\nStatus:\nllama.cpp: Running\n")
        );
        let json = fake.run(&["status", "--json"]).await;
        assert_eq!(
            json.out,
            format!(
                "{{\"running\":true,\"backends\":{{\"llama.cpp\":\"Running\"}},\"kind\":\"modeld\",\
                 \"endpoint\":\"{place}\",\"endpointHost\":\"{place}\"}}\n"
            )
        );
    }

    #[tokio::test]
    async fn no_daemon_is_an_answer_and_an_exit_code() {
        let fake = Fake::absent();
        let json = fake.run(&["status", "--json"]).await;
        assert!(json.out.starts_with("{\"running\":false,"), "{}", json.out);
        assert_eq!(json.code, 69);
    }
}
