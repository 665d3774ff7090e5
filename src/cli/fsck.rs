use indicatif::{ProgressBar, ProgressStyle};

use super::{CliError, Printer, names};
use crate::client::Client;
use crate::client::upkeep::{FsckLine, FsckReport, Problem};
use crate::gguf::human_bytes;

const TEMPLATE: &str = "checking {bar:30} {bytes:>11}/{total_bytes:<11} {eta}";

/// Check every file of the store, and say what gets damaged models again
///
/// Reads every byte, also of files that belong to other programs. Ends with 1 if anything was
/// wrong.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove damaged files, so that a pull gets them again, and put the index right
    #[arg(long)]
    repair: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let mut check = client.fsck(args.repair).await?;
    let bar = match printer.err_is_terminal() {
        true => ProgressBar::new(0),
        false => ProgressBar::hidden(),
    };
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    let report = loop {
        match check.next().await? {
            FsckLine::Progress { done, total, .. } => {
                bar.set_length(total);
                bar.set_position(done);
            }
            FsckLine::Report(report) => break report,
            FsckLine::Error { message } => return Err(CliError::Failed(message)),
        }
    };
    bar.finish_and_clear();
    if args.json {
        printer.json(&report)?;
    } else {
        tell(&report, args.repair, printer)?;
    }
    if report.clean { Ok(()) } else { Err(CliError::Reported) }
}

fn tell(report: &FsckReport, repair: bool, printer: &mut Printer) -> Result<(), CliError> {
    let FsckReport { blobs, bytes, manifests, problems, .. } = report;
    for problem in problems {
        printer.line(sentence(problem))?;
    }
    let mut again: Vec<String> = Vec::new();
    for model in problems.iter().flat_map(|problem| &problem.models) {
        let name = match model.tags.first() {
            Some(tag) => names::short(tag),
            None => names::short_id(&model.id),
        };
        let how = match &model.command {
            Some(command) => format!("{name} is damaged; get it again with: {command}"),
            None => format!("{name} is damaged; package or load it again"),
        };
        if !again.contains(&how) {
            again.push(how);
        }
    }
    for how in &again {
        printer.line(how)?;
    }
    let read = format!("{blobs} blobs ({}) and {manifests} manifests", human_bytes(*bytes));
    match problems.len() {
        0 => printer.note(format!("{read} are sound")),
        count => {
            let plural = if count == 1 { "" } else { "s" };
            printer.note(format!("{read} were read: {count} problem{plural}"));
            if !repair {
                printer.note("`modeld fsck --repair` removes what is damaged, then pull it again");
            }
        }
    }
    Ok(())
}

fn sentence(problem: &Problem) -> String {
    let Problem { path, problem, repaired, .. } = problem;
    format!("{path}: {problem}{}", if *repaired { " (repaired)" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn findings_name_the_model_and_what_gets_it_again() {
        let fake = Fake::start().await;
        let done = fake.run(&["fsck"]).await;
        assert_eq!(done.code, 1);
        insta::assert_snapshot!(done.out + &done.err);
        let json = fake.run(&["fsck", "--json"]).await;
        let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!((value["problems"][0]["repaired"] == false, json.code), (true, 1));
    }

    #[tokio::test]
    async fn a_sound_store_ends_with_0() {
        let fake = Fake::start().await;
        let done = fake.run(&["fsck", "--repair"]).await;
        assert_eq!((done.out.as_str(), done.code), ("", 0));
        assert_eq!(done.err, "2 blobs (9B) and 1 manifests are sound\n");
        assert_eq!(fake.last(), "POST /modeld/fsck {\"repair\":true}");
    }
}
