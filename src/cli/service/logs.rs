use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::args::Logs;
use super::context::Context;
use super::systemd::Systemd;
use super::units::{SERVICE, Scope};
use crate::cli::{CliError, Printer};

/// Shows the journal of the service, and where there is none, the log's file.
pub(super) fn run(
    context: &Context<'_>,
    args: Logs,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let has_unit = Systemd::find(context).and_then(|systemd| systemd.unit(SERVICE));
    if has_unit.is_ok_and(|unit| unit.is_loaded()) {
        let lines = args.lines.to_string();
        let mut words = vec!["--unit", SERVICE, "--lines", &lines];
        if context.scope == Scope::User {
            words.insert(0, "--user");
        }
        if args.follow {
            words.push("--follow");
        } else {
            words.push("--no-pager");
        }
        match context.programs.show("journalctl", &words) {
            Ok(0) => return Ok(()),
            // Ctrl-C ends following.
            Ok(-1 | 130) if args.follow => return Ok(()),
            Ok(code) => printer.note(format!("journalctl ended with {code}; the log's file:")),
            Err(e) => printer.note(format!("journalctl: {e}; the log's file:")),
        }
    }
    let none = || {
        CliError::Failed(
            "there is neither a journal of the service nor a log file; `modeld serve` writes its log \
             to standard error"
                .to_owned(),
        )
    };
    let path = context.log.as_deref().ok_or_else(none)?;
    if args.follow {
        return Err(CliError::Usage(
            "without a journal, `modeld logs --follow` follows the daemon's log".to_owned(),
        ));
    }
    for line in tail(path, args.lines).map_err(|e| {
        CliError::Failed(format!("there is no journal of the service, and {}: {e}", path.display()))
    })? {
        printer.line(line)?;
    }
    Ok(())
}

fn tail(path: &Path, lines: u32) -> std::io::Result<VecDeque<String>> {
    let most = usize::try_from(lines).unwrap_or(usize::MAX);
    let mut last = VecDeque::new();
    for line in BufReader::new(std::fs::File::open(path)?).split(b'\n') {
        if last.len() >= most {
            last.pop_front();
        }
        if most > 0 {
            last.push_back(String::from_utf8_lossy(&line?).into_owned());
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Manager, Place};
    use super::*;

    #[test]
    fn the_journal_is_asked_where_the_service_is() {
        let place = Place::new();
        let manager = Manager::running();
        let args = Logs { system: false, follow: true, lines: 7 };
        place.capture(|printer| run(&place.context(&manager), args, printer)).0.unwrap();
        assert_eq!(
            manager.changes(),
            ["journalctl --user --unit modeld.service --lines 7 --follow"]
        );
    }

    #[test]
    fn elsewhere_the_end_of_the_file_is_shown() {
        let place = Place::new();
        let manager = Manager::absent();
        let context = place.context(&manager);
        let log = context.log.clone().unwrap();
        let args = Logs { system: false, follow: false, lines: 2 };
        let (done, _) = place.capture(|printer| run(&context, args, printer));
        assert!(done.unwrap_err().to_string().contains("modeld.log"));
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        std::fs::write(&log, "one\ntwo\nthree\n").unwrap();
        let (_, said) = place.capture(|printer| run(&context, args, printer));
        assert_eq!(said, "two\nthree\n");
    }
}
