use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, CliError, Printer};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which one
    shell: Shell,
}

pub(super) fn run(args: &Args, printer: &mut Printer) -> Result<(), CliError> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "modeld", &mut script);
    printer.bytes(&script)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn every_shell_knows_the_commands() {
        for shell in ["bash", "zsh", "fish"] {
            let done = Fake::absent().run(&["completions", shell]).await;
            assert!(done.out.contains("package"), "{shell}: {}", done.out);
        }
    }
}
