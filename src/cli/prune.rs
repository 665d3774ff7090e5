use super::confirm::confirm;
use super::{CliError, Printer};
use crate::client::Client;
use crate::client::upkeep::Prune;
use crate::gguf::human_bytes;

/// Remove what no model needs
///
/// That is what removals, crashes and damaged indexes left, once it is older than a minute. Files
/// of other programs are never removed. Lists what would go and asks before it does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Interrupted downloads as well; a pull of theirs begins anew then
    #[arg(long)]
    partials: bool,
    /// Of those only the ones that nobody wrote to for so long, such as 12h or 7d
    #[arg(long, value_name = "AGE", requires = "partials", default_value = "0s",
          hide_default_value = true, value_parser = age)]
    older_than: String,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

fn age(text: &str) -> Result<String, String> {
    crate::config::parse_age(text).map(|_| text.to_owned())
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let Args { partials, older_than, dry_run, force } = args;
    let partials_older_than = partials.then_some(older_than);
    let mut what = Prune { orphans: true, partials_older_than, dry_run: true };
    if dry_run || !force {
        let found = client.prune(&what).await?;
        if dry_run || found.is_empty() {
            return tell(printer, &found, "would be removed");
        }
        for (name, bytes) in &found {
            printer.note(format!("{name}  {}", human_bytes(*bytes)));
        }
        let question = format!("Remove {}?", sum(&found));
        if !confirm(printer, &question, force)? {
            printer.note("Nothing was removed.");
            return Ok(());
        }
    }
    what.dry_run = false;
    let removed = client.prune(&what).await?;
    tell(printer, &removed, "removed")
}

fn tell(printer: &mut Printer, all: &[(String, u64)], verb: &str) -> Result<(), CliError> {
    for (name, bytes) in all {
        printer.line(format!("{name}  {}", human_bytes(*bytes)))?;
    }
    printer.note(format!("{} {verb}", sum(all)));
    Ok(())
}

fn sum(all: &[(String, u64)]) -> String {
    let bytes = all.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add);
    let plural = if all.len() == 1 { "" } else { "s" };
    format!("{} file{plural}, {}", all.len(), human_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn by_force_it_asks_nobody_and_says_what_went() {
        let fake = Fake::start().await;
        let done = fake.run(&["prune", "-f"]).await;
        assert_eq!((done.out.as_str(), done.code), ("blob sha256:00  1.00MiB\n", 0));
        assert_eq!(done.err, "1 file, 1.00MiB removed\n");
        assert_eq!(fake.all(), ["POST /modeld/prune {\"orphans\":true,\"dry_run\":false}"]);
    }

    #[tokio::test]
    async fn a_dry_run_changes_nothing_and_partials_go_by_age() {
        let fake = Fake::start().await;
        let done = fake.run(&["prune", "--dry-run", "--partials", "--older-than", "7d"]).await;
        assert!(done.err.ends_with("would be removed\n"), "{}", done.err);
        let body = "{\"orphans\":true,\"partials_older_than\":\"7d\",\"dry_run\":true}";
        assert_eq!(fake.all(), [format!("POST /modeld/prune {body}")]);
        assert_eq!(fake.run(&["prune", "--partials", "--older-than", "soon"]).await.code, 2);
        assert_eq!(fake.run(&["prune", "--older-than", "7d"]).await.code, 2);
    }
}
