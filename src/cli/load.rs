use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use super::{CliError, Printer, names, stream};
use crate::client::Client;

/// Take a model in from a Docker model archive
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive; standard input unless given
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The name to give it; without, it has none but its id
    #[arg(long, value_name = "MODEL")]
    name: Option<String>,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let Args { input, name } = args;
    // An archive is long; nobody should send it in vain.
    let target = name.as_deref().map(names::checked_target).transpose()?;
    let (mut archive, length) = open(input.as_deref().filter(|path| path.as_os_str() != "-"))?;
    client.version().await?;
    let visible = printer.err_is_terminal();
    let copy = move |out: &mut dyn io::Write| io::copy(&mut archive, out).map(drop);
    let loaded = stream::load(client, length, visible, copy).await?;
    let id = loaded.model;
    match (target, &id) {
        (Some((repo, tag)), Some(id)) => client.tag(id, repo, tag).await?,
        (Some(_), None) => {
            let message = "the daemon does not say which model it took in, so it has no name; \
                           `modeld list` shows it";
            return Err(CliError::Failed(message.to_owned()));
        }
        (None, _) => {}
    }
    let id = id.unwrap_or_else(|| "(id unknown)".to_owned());
    printer.line(match name {
        Some(name) => format!("Model {name:?} loaded as {id}"),
        None => format!("Model loaded as {id}"),
    })
}

/// The archive, and how long it is where that can be known.
fn open(path: Option<&Path>) -> Result<(Box<dyn Read + Send>, Option<u64>), CliError> {
    let Some(path) = path else {
        let input = io::stdin();
        if input.is_terminal() {
            let message = "no archive: give -i FILE, or send one to the standard input";
            return Err(CliError::Usage(message.to_owned()));
        }
        return Ok((Box::new(input), None));
    };
    let failed = |e: io::Error| CliError::Failed(format!("cannot read {}: {e}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if found.is_dir() {
        return Err(CliError::Failed(format!("{} is a directory", path.display())));
    }
    let length = found.is_file().then_some(found.len());
    Ok((Box::new(file), length))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn an_archive_is_sent_and_named() {
        let fake = Fake::start().await;
        let path = fake.dir().join("m.tar");
        std::fs::write(&path, "the archive").unwrap();
        let path = path.to_str().unwrap();
        let done = fake.run(&["load", "-i", path, "--name", "me/mine:v1"]).await;
        let id = format!("sha256:{}", "d".repeat(64));
        assert_eq!(done.out, format!("Model \"me/mine:v1\" loaded as {id}\n"), "{}", done.err);
        assert_eq!(fake.uploaded(), b"the archive");
        assert_eq!(fake.last(), format!("POST /models/{id}/tag?repo=me/mine&tag=v1"));
        let done = fake.run(&["load", "-i", path]).await;
        assert_eq!(done.out, format!("Model loaded as {id}\n"));
        assert_eq!(fake.last(), "POST /models/load");
    }

    #[tokio::test]
    async fn what_cannot_be_is_said_before_anything_is_sent() {
        let fake = Fake::start().await;
        let none = fake.dir().join("none.tar").display().to_string();
        assert_eq!(fake.run(&["load", "-i", &none]).await.code, 1);
        assert_eq!(fake.run(&["load", "-i", "/"]).await.code, 1);
        let done = fake.run(&["load", "-i", &none, "--name", "a b"]).await;
        assert_eq!(done.code, 2, "{}", done.err);
        assert_eq!(fake.all(), Vec::<String>::new());
    }
}
