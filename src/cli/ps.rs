use std::time::{Duration, SystemTime};

use super::table::{Align, Table};
use super::{CliError, Printer, human, names};
use crate::client::Client;
use crate::client::wire::Running;
use crate::config::parse_keep_alive;

/// List the models that are loaded
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print what the daemon answers, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    if args.json {
        let value: serde_json::Value = client.get("/engines/ps").await?;
        return printer.json(&value);
    }
    printer.text(&table(&client.running().await?, SystemTime::now()))
}

fn table(running: &[Running], now: SystemTime) -> String {
    let mut table = Table::new(&[
        ("MODEL NAME", Align::Left),
        ("BACKEND", Align::Left),
        ("MODE", Align::Left),
        ("UNTIL", Align::Left),
    ]);
    for model in running {
        let name = if model.model_name.starts_with("sha256:") {
            names::short_id(&model.model_name)
        } else {
            names::short(&model.model_name)
        };
        table.row(vec![
            name.to_owned(),
            model.backend_name.clone(),
            model.mode.clone(),
            until(model, now),
        ]);
    }
    table.render()
}

fn until(model: &Running, now: SystemTime) -> String {
    if model.loading {
        return "Loading".to_owned();
    }
    let said = model.keep_alive.as_deref().and_then(|text| parse_keep_alive(text).ok());
    let Some(keep_alive) = said.unwrap_or(Some(Duration::from_secs(300))) else {
        return "Forever".to_owned();
    };
    let used = model.last_used.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
    let idle = match used {
        // Zero time: in use, so the clock has not started.
        Some(used) if !model.in_use && used > SystemTime::UNIX_EPOCH => {
            now.duration_since(used).unwrap_or_default()
        }
        Some(_) | None => Duration::ZERO,
    };
    match keep_alive.checked_sub(idle) {
        Some(left) if !left.is_zero() => format!("{} from now", human::duration(left)),
        Some(_) | None => "Expiring".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, running_list};
    use super::*;

    #[test]
    fn the_columns_of_docker_model() {
        let running: Vec<Running> = serde_json::from_value(running_list()).unwrap();
        let now = "2026-01-01T00:01:00Z".parse::<jiff::Timestamp>().unwrap().into();
        insta::assert_snapshot!(table(&running, now), @"
        MODEL NAME    BACKEND    MODE        UNTIL
        smollm2       llama.cpp  completion  4 minutes from now
        gemma3:4B     llama.cpp  completion  Forever
        cccccccccccc  llama.cpp  completion  Loading
        myorg/m       llama.cpp  completion  5 minutes from now
        late          llama.cpp  completion  Expiring
        ");
    }

    #[tokio::test]
    async fn headers_alone_when_nothing_is_loaded() {
        let fake = Fake::start().await;
        let done = fake.run(&["ps"]).await;
        assert!(done.out.starts_with("MODEL NAME"), "{}", done.out);
        let json = fake.run(&["ps", "--json"]).await;
        assert!(serde_json::from_str::<Vec<serde_json::Value>>(&json.out).is_ok());
    }
}
