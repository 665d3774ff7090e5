use std::path::PathBuf;

use clap::CommandFactory as _;

use super::{Cli, CliError, Printer};

/// Write the manual pages
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory for one page per command; without it the main page goes to stdout
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &Args, printer: &mut Printer) -> Result<(), CliError> {
    let command = Cli::command();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|e| CliError::Failed(format!("cannot write the manual: {e}")))?;
        return printer.bytes(&page);
    };
    let failed =
        |e: std::io::Error| CliError::Failed(format!("cannot write to {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(command, dir).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn one_page_per_command() {
        let dir = tempfile::tempdir().unwrap();
        let done = Fake::absent().run(&["man", &dir.path().display().to_string()]).await;
        assert_eq!(done.code, 0, "{}", done.err);
        for page in ["modeld.1", "modeld-run.1", "modeld-serve.1"] {
            assert!(dir.path().join(page).exists(), "{page}");
        }
        assert!(!dir.path().join("modeld-worker.1").exists());
        assert!(Fake::absent().run(&["man"]).await.out.contains(".TH modeld"));
    }
}
