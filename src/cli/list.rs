use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::table::{Align, Table};
use super::{CliError, Printer, human, names};
use crate::client::Client;
use crate::client::wire::Model;

/// List the models in the store
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only this model, under all its tags
    model: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print what the OpenAI endpoint answers
    #[arg(long, conflicts_with_all = ["quiet", "json"])]
    openai: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    if args.openai {
        let models: Value = client.get("/engines/v1/models").await?;
        return printer.json(&models);
    }
    let wanted = |model: &Model| {
        let Some(filter) = &args.model else { return true };
        model.tags.iter().any(|tag| names::matches(tag, filter))
            || names::short_id(&model.id) == names::short_id(filter)
    };
    if args.json {
        let models: Vec<Value> = client.get("/models").await?;
        let is_wanted = |value: &Value| {
            serde_json::from_value::<Model>(value.clone()).is_ok_and(|model| wanted(&model))
        };
        return printer.json(&models.into_iter().filter(is_wanted).collect::<Vec<_>>());
    }
    let models = client.models().await?.into_iter().filter(|m| wanted(m)).collect::<Vec<_>>();
    if args.quiet {
        for model in &models {
            printer.line(names::short_id(&model.id))?;
        }
        return Ok(());
    }
    printer.text(&table(&models, SystemTime::now()))
}

fn table(models: &[Model], now: SystemTime) -> String {
    let mut table = Table::new(&[
        ("MODEL NAME", Align::Left),
        ("PARAMETERS", Align::Left),
        ("QUANTIZATION", Align::Left),
        ("ARCHITECTURE", Align::Left),
        ("MODEL ID", Align::Left),
        ("CREATED", Align::Left),
        ("CONTEXT", Align::Right),
        ("SIZE", Align::Left),
    ]);
    for model in models {
        let untagged = ["<none>".to_owned()];
        let tags = if model.tags.is_empty() { &untagged[..] } else { &model.tags };
        for tag in tags {
            table.row(vec![
                names::short(tag).to_owned(),
                model.config.parameters.clone(),
                model.config.quantization.clone(),
                model.config.architecture.clone(),
                names::short_id(&model.id).to_owned(),
                age(model.created, now),
                context(model),
                model.config.size.clone(),
            ]);
        }
    }
    table.render()
}

/// Empty where the artifact does not say.
fn age(created: i64, now: SystemTime) -> String {
    let Some(created) = u64::try_from(created).ok().filter(|&seconds| seconds > 0) else {
        return String::new();
    };
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = now.saturating_sub(Duration::from_secs(created));
    format!("{} ago", human::duration(age))
}

/// The packaged context, else what the file was trained with.
fn context(model: &Model) -> String {
    let trained = || {
        let key = format!("{}.context_length", model.config.architecture);
        model.config.gguf.get(&key)?.parse().ok()
    };
    model.config.context_size.or_else(trained).map(|n: u64| n.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fake, model_list};
    use super::*;

    #[test]
    fn the_columns_of_docker_model() {
        let models: Vec<Model> = serde_json::from_value(model_list()).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_760_000_000 + 3 * 7 * 86_400);
        insta::assert_snapshot!(table(&models, now), @"
        MODEL NAME         PARAMETERS  QUANTIZATION  ARCHITECTURE  MODEL ID      CREATED      CONTEXT  SIZE
        smollm2            134.52M     Q4_1          llama         aaaaaaaaaaaa  3 weeks ago     8192  93.81MiB
        smollm2:135M-Q4_1  134.52M     Q4_1          llama         aaaaaaaaaaaa  3 weeks ago     8192  93.81MiB
        <none>                                       bert          bbbbbbbbbbbb                   512  20.1MiB
        ");
    }

    #[tokio::test]
    async fn ids_json_and_filters() {
        let fake = Fake::start().await;
        let quiet = fake.run(&["list", "-q"]).await;
        assert_eq!(quiet.out, "aaaaaaaaaaaa\nbbbbbbbbbbbb\n");
        let one = fake.run(&["ls", "-q", "smollm2"]).await;
        assert_eq!(one.out, "aaaaaaaaaaaa\n");
        let json = fake.run(&["list", "--json", "other"]).await;
        let value: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(value, Value::Array(Vec::new()));
        let openai = fake.run(&["list", "--openai"]).await;
        let value: Value = serde_json::from_str(&openai.out).unwrap();
        assert_eq!(value["object"], "list");
        assert_eq!(fake.run(&["list", "--openai", "-q"]).await.code, 2);
    }

    #[tokio::test]
    async fn without_a_daemon_there_is_one_clear_line() {
        let fake = Fake::absent();
        let done = fake.run(&["list"]).await;
        assert_eq!((done.out.as_str(), done.code), ("", 69));
        let says = format!(
            "modeld: modeld is not running (no daemon at {}); start it with: modeld serve\n",
            fake.socket().display()
        );
        assert_eq!(done.err, says);
    }
}
