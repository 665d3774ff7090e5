use std::path::PathBuf;

use serde::Serialize;

use super::{CliError, ExitCode, Printer};
use crate::doctor::{Finding, Patient, Verdict, examine, worst};

/// Look for what may be wrong around modeld, and say what to do about it
///
/// Ends with 1 if something is broken, else with 0, also where something is worth a look. With --json:
/// `version`, `verdict` (ok, warn or fail: the worst of all) and `findings`, each with `check`,
/// `verdict`, `message` and, unless it is ok, `fix`. No look takes longer than ten seconds.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask nobody outside of this machine
    #[arg(long)]
    offline: bool,
}

/// What programs read.
#[derive(Serialize)]
struct Report<'a> {
    version: &'static str,
    verdict: Verdict,
    findings: &'a [Finding],
}

/// On its own: nothing that is wrong may keep it from looking.
pub(super) fn main(
    args: &Args,
    host: Option<&str>,
    file: Option<PathBuf>,
    printer: &mut Printer,
) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::Failed(format!("cannot start: {e}")))?;
    let done = runtime.block_on(run(args, host, file, printer));
    runtime.shutdown_background();
    done.map(|()| ExitCode::Success)
}

pub(super) async fn run(
    args: &Args,
    host: Option<&str>,
    file: Option<PathBuf>,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let findings = examine(&Patient::of_process(host, file, args.offline).await).await;
    let verdict = worst(&findings);
    if args.json {
        let version = env!("CARGO_PKG_VERSION");
        printer.json(&Report { version, verdict, findings: &findings })?;
    } else {
        printer.text(&text(&findings))?;
    }
    if verdict == Verdict::Fail { Err(CliError::Reported) } else { Ok(()) }
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, verdict, message, fix } in findings {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        text += &format!("{word:<5} {check:<12} {message}\n");
        if let Some(fix) = fix {
            text += &format!("{:<18} → {fix}\n", "");
        }
    }
    let count = |wanted: Verdict| findings.iter().filter(|f| f.verdict == wanted).count();
    text += &match (count(Verdict::Fail), count(Verdict::Warn)) {
        (0, 0) => "\nNothing is wrong.\n".to_owned(),
        (0, warnings) => format!("\nNothing is broken; {warnings} worth a look.\n"),
        (failures, warnings) => format!("\n{failures} to repair, {warnings} worth a look.\n"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(verdict: Verdict, fix: Option<&str>) -> Finding {
        Finding { check: "disk", verdict, message: "1 GiB".into(), fix: fix.map(str::to_owned) }
    }

    #[test]
    fn what_people_read() {
        let all = [finding(Verdict::Ok, None), finding(Verdict::Fail, Some("make room"))];
        insta::assert_snapshot!(text(&all), @r"
        ok    disk         1 GiB
        FAIL  disk         1 GiB
                           → make room

        1 to repair, 0 worth a look.
        ");
        assert!(text(&all[..1]).ends_with("\nNothing is wrong.\n"));
    }
}
