use super::table::{Align, Table};
use super::{CliError, Printer, names};
use crate::client::Client;
use crate::client::upkeep::Usage;
use crate::gguf::human_bytes;

/// Show the disk space that models take
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show each model
    #[arg(short, long)]
    verbose: bool,
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
        let value: serde_json::Value = client.get("/engines/df").await?;
        return printer.json(&value);
    }
    let usage = client.usage().await?;
    printer.text(&table(&usage))?;
    if args.verbose {
        printer.text(&format!("\n{}", models(&usage)))?;
    }
    if usage.interrupted > 0 {
        let plural = if usage.interrupted == 1 { "" } else { "s" };
        printer.note(format!(
            "{} partial download{plural}, {}; `modeld prune --partials` removes them",
            usage.interrupted,
            human_bytes(usage.interrupted_bytes)
        ));
    }
    if usage.orphan_bytes > 0 {
        let bytes = human_bytes(usage.orphan_bytes);
        printer.note(format!("{bytes} belong to no model; `modeld prune` removes them"));
    }
    Ok(())
}

fn table(usage: &Usage) -> String {
    let mut table = Table::new(&[("TYPE", Align::Left), ("SIZE", Align::Left)]);
    let mut row = |kind: &str, bytes| table.row(vec![kind.to_owned(), human_bytes(bytes)]);
    row("Models", usage.model_bytes.unwrap_or(usage.models_disk_usage));
    for (kind, bytes) in [
        ("Models in other programs' files", usage.adopted_bytes),
        ("Inference engine", usage.default_backend_disk_usage),
        ("Partial downloads", usage.partial_bytes),
        ("Orphans", usage.orphan_bytes),
    ] {
        if bytes > 0 {
            row(kind, bytes);
        }
    }
    if let Some(free) = usage.free_bytes {
        row("Free", free);
    }
    table.render()
}

fn models(usage: &Usage) -> String {
    let mut table = Table::new(&[
        ("MODEL NAME", Align::Left),
        ("MODEL ID", Align::Left),
        ("OWN SIZE", Align::Right),
        ("SHARED", Align::Right),
        ("ELSEWHERE", Align::Right),
    ]);
    for model in &usage.models {
        let tags: Vec<&str> = model.tags.iter().map(|tag| names::short(tag)).collect();
        let name = if tags.is_empty() { "<none>".to_owned() } else { tags.join(", ") };
        table.row(vec![
            name,
            names::short_id(&model.id).to_owned(),
            human_bytes(model.own_bytes),
            human_bytes(model.shared_bytes),
            human_bytes(model.adopted_bytes),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn sums_then_models_then_what_to_do() {
        let fake = Fake::start().await;
        let done = fake.run(&["df", "-v"]).await;
        insta::assert_snapshot!(done.out + &done.err);
        let plain = fake.run(&["df"]).await;
        assert!(!plain.out.contains("MODEL NAME"), "{}", plain.out);
    }

    #[tokio::test]
    async fn as_json_it_is_what_the_daemon_says() {
        let fake = Fake::start().await;
        let done = fake.run(&["df", "--json"]).await;
        let value: serde_json::Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!(value["interrupted"], 3);
    }
}
