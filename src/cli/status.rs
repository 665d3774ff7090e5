use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// What confines the daemon and each model's process; ours.
    #[serde(flatten)]
    processes: Option<Processes>,
}

/// What is read of `GET /modeld/status`.
#[derive(Serialize, Deserialize)]
struct Processes {
    process: String,
    workers: Vec<Worker>,
}

#[derive(Serialize, Deserialize)]
struct Worker {
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    sandbox: String,
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
    // Another daemon with the same API has none of this.
    let processes: Option<Processes> = match absent {
        None => client.get("/modeld/status").await.ok(),
        Some(_) => None,
    };
    if args.json {
        let status = Status {
            running: absent.is_none(),
            backends,
            kind: "modeld",
            endpoint: client.endpoint(),
            endpoint_host: client.endpoint(),
            processes,
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
        if let Some(Processes { process, workers }) = processes {
            printer.line("\nProcesses:")?;
            printer.line(format!("daemon: {process}"))?;
            for Worker { model, pid, sandbox } in workers {
                let pid = pid.map(|pid| format!(" ({pid})")).unwrap_or_default();
                printer.line(format!("{model}{pid}: {sandbox}"))?;
            }
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
            format!(
                "modeld is running at {place}\n\nStatus:\nllama.cpp: Running\n\nProcesses:\n\
                     daemon: no core dumps\nai/smollm2 (7): Landlock ABI 7\n"
            )
        );
        let json = fake.run(&["status", "--json"]).await;
        assert_eq!(
            json.out,
            format!(
                "{{\"running\":true,\"backends\":{{\"llama.cpp\":\"Running\"}},\"kind\":\"modeld\",\
                 \"endpoint\":\"{place}\",\"endpointHost\":\"{place}\",\
                 \"process\":\"no core dumps\",\"workers\":[{{\"model\":\"ai/smollm2\",\
                 \"pid\":7,\"sandbox\":\"Landlock ABI 7\"}}]}}\n"
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
