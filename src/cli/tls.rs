use super::token::directory;
use super::{CliError, Printer};
use crate::config::Env;
use crate::daemon::authority_certificate;

/// The certificate authority of --tls self-signed
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print its certificate, for clients to trust; makes it where there is none
    Ca,
}

pub(super) fn run(args: &Args, env: &Env, printer: &mut Printer) -> Result<(), CliError> {
    let Args { what: What::Ca } = args;
    let (certificate, problem) = authority_certificate(&directory(env)?)?;
    printer.text(&certificate)?;
    if let Some(problem) = problem {
        printer.note(problem);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::captured;
    use super::*;

    #[test]
    fn the_authority_is_printed_without_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env { config_dir: Some(dir.path().to_owned()), ..Env::default() };
        let ca = || captured(|printer| run(&Args { what: What::Ca }, &env, printer));
        let (done, out, _) = ca();
        done.unwrap();
        assert!(out.starts_with("-----BEGIN CERTIFICATE-----\n") && !out.contains("KEY"), "{out}");
        assert_eq!(ca().1, out);
    }
}
