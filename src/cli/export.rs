use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::stream::bar;
use super::{CliError, Printer};
use crate::client::{Client, Response};

/// Write a model as a Docker model archive, to take it to another machine
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: a name or an id
    model: String,
    /// Where to write it; standard output unless given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let Args { model, output } = args;
    let output = output.filter(|path| path.as_os_str() != "-");
    if output.is_none() && printer.out_is_terminal() {
        let message = "an archive is nothing for a terminal: give -o FILE, or send it to a file";
        return Err(CliError::Usage(message.to_owned()));
    }
    let archive = client.export(&model).await?;
    match output {
        Some(path) => to_file(archive, &path, printer).await,
        None => {
            let visible = printer.err_is_terminal();
            copy(archive, visible, |piece| printer.bytes(piece)).await
        }
    }
}

/// Under its name only when it is whole and on the disk.
async fn to_file(archive: Response, path: &Path, printer: &Printer) -> Result<(), CliError> {
    let failed = |e: io::Error| CliError::Failed(format!("cannot write {}: {e}", path.display()));
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // As any new file; the umask takes from it.
    let mut file = tempfile::Builder::new()
        .prefix(".modeld-export-")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .map_err(failed)?;
    copy(archive, printer.err_is_terminal(), |piece| file.write_all(piece).map_err(failed)).await?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

async fn copy(
    mut archive: Response,
    visible: bool,
    mut write: impl FnMut(&[u8]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let bar = bar(archive.length(), visible);
    while let Some(piece) = archive.piece().await? {
        write(&piece)?;
        bar.inc(u64::try_from(piece.len()).unwrap_or(0));
    }
    bar.finish_and_clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn an_archive_goes_to_a_file_or_to_standard_output() {
        let fake = Fake::start().await;
        let path = fake.dir().join("m.tar");
        let done = fake.run(&["export", "smollm2", "-o", path.to_str().unwrap()]).await;
        assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "", ""));
        assert_eq!(std::fs::read(&path).unwrap(), b"an archive");
        assert_eq!(fake.last(), "GET /models/smollm2/export");
        assert_eq!(fake.run(&["export", "smollm2"]).await.out, "an archive");
    }

    #[tokio::test]
    async fn one_that_breaks_off_leaves_the_old_file_and_nothing_else() {
        let fake = Fake::start().await;
        let path = fake.dir().join("m.tar");
        std::fs::write(&path, "old").unwrap();
        for model in ["broken", "nope"] {
            let done = fake.run(&["export", model, "-o", path.to_str().unwrap()]).await;
            assert_eq!(done.code, 1, "{model}: {}", done.err);
            assert_eq!(std::fs::read(&path).unwrap(), b"old", "{model}");
            // The socket and the file.
            assert_eq!(std::fs::read_dir(fake.dir()).unwrap().count(), 2, "{model}");
        }
    }
}
