use std::time::{Duration, SystemTime};

use super::table::{Align, Table};
use super::{CliError, Printer, human, names};
use crate::client::Client;
use crate::client::wire::Transfer;
use crate::gguf::human_bytes;

/// List the pulls and pushes that run or wait
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop those of this model instead
    #[arg(long, value_name = "MODEL")]
    cancel: Option<String>,
    /// Print what the daemon answers, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    if args.json && args.cancel.is_none() {
        let value: serde_json::Value = client.get("/modeld/transfers").await?;
        return printer.json(&value);
    }
    let Some(model) = &args.cancel else {
        return printer.text(&table(&client.transfers().await?, SystemTime::now()));
    };
    for transfer in client.cancel_transfer(model).await? {
        printer.line(format!("Cancelled: {} of {}", transfer.mode, transfer.reference))?;
    }
    Ok(())
}

fn table(transfers: &[Transfer], now: SystemTime) -> String {
    let mut table = Table::new(&[
        ("MODEL NAME", Align::Left),
        ("KIND", Align::Left),
        ("DONE", Align::Right),
        ("SIZE", Align::Left),
        ("STARTED", Align::Left),
        ("WATCHED", Align::Left),
    ]);
    for transfer in transfers {
        let percent = u128::from(transfer.current) * 100 / u128::from(transfer.total.max(1));
        let watched = match (transfer.watchers, transfer.detached) {
            (0, _) => "no".to_owned(),
            (count, false) => format!("by {count}"),
            (count, true) => format!("by {count}, detached"),
        };
        table.row(vec![
            names::short(&transfer.reference).to_owned(),
            transfer.mode.clone(),
            format!("{percent} %"),
            human_bytes(transfer.total),
            age(&transfer.started, now),
            watched,
        ]);
    }
    table.render()
}

fn age(started: &str, now: SystemTime) -> String {
    let Ok(started) = started.parse::<jiff::Timestamp>() else { return String::new() };
    let age = now.duration_since(started.into()).unwrap_or(Duration::ZERO);
    format!("{} ago", human::duration(age))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::Fake;
    use super::*;

    #[test]
    fn how_far_each_is_and_for_whom() {
        let transfers: Vec<Transfer> = serde_json::from_value(json!([
            {"mode": "pull", "reference": "docker.io/ai/smollm2:latest", "total": 98_368_000,
             "current": 49_184_000, "started": "2026-01-01T00:00:00Z", "watchers": 2},
            {"mode": "push", "reference": "docker.io/me/m:v1", "total": 0, "current": 0,
             "started": "2025-12-31T23:59:30Z", "watchers": 0, "detached": true},
            {"mode": "pull", "reference": "docker.io/ai/x:latest", "started": "?", "watchers": 1,
             "detached": true}
        ]))
        .unwrap();
        let now = "2026-01-01T00:00:30Z".parse::<jiff::Timestamp>().unwrap().into();
        insta::assert_snapshot!(table(&transfers, now));
    }

    #[tokio::test]
    async fn listed_and_cancelled() {
        let fake = Fake::start().await;
        assert!(fake.run(&["transfers"]).await.out.contains("smollm2"));
        let json = fake.run(&["transfers", "--json"]).await;
        assert!(serde_json::from_str::<Vec<serde_json::Value>>(&json.out).is_ok());
        let done = fake.run(&["transfers", "--cancel", "smollm2"]).await;
        assert_eq!(done.out, "Cancelled: pull of docker.io/ai/smollm2:latest\n");
        assert_eq!(fake.last(), "DELETE /modeld/transfers?reference=smollm2");
    }
}
