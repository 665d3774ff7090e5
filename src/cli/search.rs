use super::table::{Align, Table};
use super::{CliError, Printer};
use crate::client::Client;
use crate::client::wire::{Found, Hit};

/// How much of a description fits beside the rest, in characters.
const DESCRIPTION: usize = 50;

/// Look for models on Docker Hub and the Hugging Face Hub
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Words to look for; without them, what is fetched most
    query: Vec<String>,
    /// How many models of each source
    #[arg(short = 'n', long, value_name = "N", default_value_t = 25,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let Found { results, errors } = client.search(&args.query.join(" "), args.limit).await?;
    let unanswered = results.is_empty() && !errors.is_empty();
    for failure in errors {
        printer.note(format!("{} was not searched: {}", failure.source, failure.message));
    }
    if unanswered {
        return Err(CliError::Reported);
    }
    match args.json {
        true => printer.json(&results),
        false => printer.text(&table(results).render()),
    }
}

fn table(results: Vec<Hit>) -> Table {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("DESCRIPTION", Align::Left),
        ("DOWNLOADS", Align::Right),
        ("STARS", Align::Right),
        ("SOURCE", Align::Left),
    ]);
    for hit in results {
        let mut description: String = hit.description.chars().take(DESCRIPTION).collect();
        if description.len() < hit.description.len() {
            description.push('…');
        }
        table.row(vec![hit.name, description, rough(hit.downloads), rough(hit.stars), hit.source]);
    }
    table
}

/// A number in three digits or so: `999`, `12K`, `1.2M`.
fn rough(number: u64) -> String {
    let (unit, name) = match number {
        0..1_000 => return number.to_string(),
        1_000..1_000_000 => (1_000, "K"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    };
    match number / unit {
        whole @ 1..10 => format!("{whole}.{}{name}", number % unit / (unit / 10)),
        whole => format!("{whole}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;
    use super::rough;

    #[tokio::test]
    async fn a_table_of_both_sources_and_who_is_missing() {
        let fake = Fake::start().await;
        let done = fake.run(&["search", "smol", "lm", "--limit", "3"]).await;
        assert_eq!(fake.last(), "GET /modeld/search?query=smol%20lm&limit=3");
        insta::assert_snapshot!(done.out);
        assert_eq!(done.err, "docker.io was not searched: docker.io:443 stalled\n");
    }

    #[tokio::test]
    async fn json_has_all_of_it() {
        let fake = Fake::start().await;
        let done = fake.run(&["search", "--json"]).await;
        assert_eq!(fake.last(), "GET /modeld/search?query=&limit=25");
        let hits: serde_json::Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!(hits[0]["downloads"], 1_234_567);
        assert_eq!(hits[1]["description"].as_str().unwrap().len(), 100);
    }

    #[tokio::test]
    async fn no_answer_is_a_failure() {
        let done = Fake::start().await.run(&["search", "silent"]).await;
        assert_eq!((done.code, done.out.as_str()), (1, ""));
        assert_eq!(done.err, "docker.io was not searched: it stalled\n");
    }

    #[test]
    fn numbers_in_three_digits() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.0K"),
            (9_999, "9.9K"),
            (12_345, "12K"),
            (1_250_000, "1.2M"),
            (u64::MAX, "18446744073G"),
        ] {
            assert_eq!(rough(number), text);
        }
    }
}
