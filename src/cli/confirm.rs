use std::io::{BufRead, IsTerminal as _};

use super::{CliError, Printer};

/// Whether to go on: `force` says so, or a person at the terminal.
///
/// # Errors
/// `Usage` where there is nobody to ask.
pub(super) fn confirm(
    printer: &mut Printer,
    question: &str,
    force: bool,
) -> Result<bool, CliError> {
    if force {
        return Ok(true);
    }
    let stdin = std::io::stdin();
    ask(printer, question, stdin.is_terminal().then(|| stdin.lock()))
}

/// `person` is absent where standard input is no terminal.
fn ask(
    printer: &mut Printer,
    question: &str,
    person: Option<impl BufRead>,
) -> Result<bool, CliError> {
    let Some(mut person) = person else {
        let message = format!("{question} Nobody can be asked here; --force goes on without");
        return Err(CliError::Usage(message));
    };
    printer.prompt(&format!("{question} [y/N] "));
    let mut answer = String::new();
    person
        .read_line(&mut answer)
        .map_err(|e| CliError::Failed(format!("cannot read the answer: {e}")))?;
    Ok(is_yes(&answer))
}

/// Only a clear yes is one.
pub(super) fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        let mut printer = Printer::to(std::io::sink(), std::io::sink());
        for (answer, yes) in
            [("y\n", true), ("YES\n", true), ("\n", false), ("", false), ("ja", false)]
        {
            let said = ask(&mut printer, "Go?", Some(answer.as_bytes())).unwrap();
            assert_eq!(said, yes, "{answer:?}");
        }
    }

    #[test]
    fn without_a_person_nothing_goes_on() {
        let mut printer = Printer::to(std::io::sink(), std::io::sink());
        let error = ask(&mut printer, "Go?", None::<&[u8]>).unwrap_err();
        assert_eq!(error.exit_code() as u8, 2);
        assert!(confirm(&mut printer, "Go?", true).unwrap());
    }
}
