use std::path::{Path, PathBuf};

use super::{CliError, Printer, names, push, stream};
use crate::client::Client;
use crate::client::wire::Repackage;
use crate::models::{PackageOptions, PackagePlan};

/// The largest template or licence that is sent as text, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// Make a model from a GGUF file, or another one from a model of the store
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["gguf", "from"])))]
pub struct Args {
    /// The model's file; of a split one the first file, the others beside it
    #[arg(long, value_name = "FILE")]
    gguf: Option<PathBuf>,
    /// A model of the store to start from; its weights are not copied
    #[arg(long, value_name = "MODEL")]
    from: Option<String>,
    /// The projector of a model that sees
    #[arg(long, value_name = "FILE")]
    mmproj: Option<PathBuf>,
    /// A Jinja template that replaces the model's own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// A licence text; may be given several times
    #[arg(short, long, value_name = "FILE")]
    license: Vec<PathBuf>,
    /// A LoRA adapter in GGUF; may be given several times
    #[arg(long, value_name = "FILE")]
    lora: Vec<PathBuf>,
    /// The largest context that the model may get
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=2_147_483_647))]
    context_size: Option<u32>,
    /// Then upload it to the registry that its name says
    #[arg(long)]
    push: bool,
    /// The name to give it
    #[arg(value_name = "MODEL")]
    name: String,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    // Hashing a large file takes a while; nobody should wait for it in vain.
    let target = names::checked_target(&args.name)?;
    client.version().await?;
    let Args { gguf, from, mmproj, chat_template, license, lora, context_size, push: _, name: _ } =
        &args;
    let id = match (gguf, from) {
        (Some(gguf), _) => {
            let options = PackageOptions {
                weights: gguf.clone(),
                mmproj: mmproj.clone(),
                chat_template: chat_template.clone(),
                licenses: license.clone(),
                adapters: lora.clone(),
                profile: Vec::new(),
                context_size: *context_size,
            };
            from_files(options, target, client, printer).await?
        }
        (None, Some(model)) => {
            let changes = Repackage {
                target: format!("{}:{}", target.0, target.1),
                context_size: *context_size,
                chat_template: chat_template.as_deref().map(text).transpose()?,
                licenses: license.iter().map(|path| text(path)).collect::<Result<_, _>>()?,
                mmproj: mmproj.as_deref().map(absolute).transpose()?,
                lora: lora.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
            };
            let made = client.repackage(model, &changes).await?;
            made.model.unwrap_or_else(|| "(id unknown)".to_owned())
        }
        (None, None) => {
            return Err(CliError::Usage("give --gguf FILE or --from MODEL".to_owned()));
        }
    };
    printer.line(format!("Model {:?} packaged as {id}", args.name))?;
    match args.push {
        true => push::run(push::Args { model: args.name }, client, printer).await,
        false => Ok(()),
    }
}

/// Reads the files, sends them as an archive, and names what the daemon made of it.
async fn from_files(
    options: PackageOptions,
    (repo, tag): (&str, &str),
    client: &Client,
    printer: &mut Printer,
) -> Result<String, CliError> {
    if printer.err_is_terminal() {
        printer.note(format!("Reading {}", options.weights.display()));
    }
    let plan = tokio::task::spawn_blocking(move || PackagePlan::new(&options))
        .await
        .map_err(|e| CliError::Failed(format!("cannot read the files: {e}")))?
        .map_err(|e| CliError::Failed(e.to_string()))?;
    let id = plan.manifest_digest().to_string();
    let (length, visible) = (Some(plan.total_bytes()), printer.err_is_terminal());
    let write = move |mut out: &mut dyn std::io::Write| plan.write_tar(&mut out, &mut |_| ());
    stream::load(client, length, visible, write).await?;
    client.tag(&id, repo, tag).await?;
    Ok(id)
}

/// A small file, as the daemon gets it.
fn text(path: &Path) -> Result<String, CliError> {
    let failed =
        |why: String| CliError::Failed(format!("{} cannot be used: {why}", path.display()));
    let found = path.metadata().map_err(|e| failed(e.to_string()))?;
    if found.len() > MAX_TEXT {
        return Err(failed(format!("it has {} bytes, more than {MAX_TEXT}", found.len())));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8 text".to_owned()))
}

/// A large file, where the daemon finds it.
fn absolute(path: &Path) -> Result<String, CliError> {
    let failed =
        |e: std::io::Error| CliError::Failed(format!("{} cannot be used: {e}", path.display()));
    let found = path.canonicalize().map_err(failed)?;
    found
        .into_os_string()
        .into_string()
        .map_err(|_| CliError::Failed(format!("{}: its path is not UTF-8 text", path.display())))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fake;

    #[tokio::test]
    async fn a_missing_file_is_named_and_nothing_is_sent() {
        let fake = Fake::start().await;
        let file = fake.dir().join("no.gguf").display().to_string();
        let done = fake.run(&["package", "--gguf", &file, "mine"]).await;
        assert_eq!(done.code, 1);
        assert!(done.err.contains("no.gguf"), "{}", done.err);
        assert_eq!(fake.all(), ["GET /version"]);
    }

    #[tokio::test]
    async fn without_a_daemon_no_file_is_read() {
        let done = Fake::absent().run(&["package", "--gguf", "/no.gguf", "mine"]).await;
        assert_eq!(done.code, 69);
    }

    #[tokio::test]
    async fn a_context_that_cannot_be_is_a_usage_error() {
        for size in ["0", "2147483648", "-1"] {
            let args = ["package", "--gguf", "f", "--context-size", size, "mine"];
            assert_eq!(Fake::absent().run(&args).await.code, 2, "{size}");
        }
    }

    #[tokio::test]
    async fn there_is_one_source() {
        let fake = Fake::absent();
        assert_eq!(fake.run(&["package", "mine"]).await.code, 2);
        let both = ["package", "--gguf", "f", "--from", "m", "mine"];
        assert_eq!(fake.run(&both).await.code, 2);
    }

    #[tokio::test]
    async fn another_model_is_made_of_one_without_sending_its_weights() {
        let fake = Fake::start().await;
        let write = |name: &str, text: &str| {
            std::fs::write(fake.dir().join(name), text).unwrap();
            fake.dir().join(name).canonicalize().unwrap().display().to_string()
        };
        let (template, licence) = (write("t.jinja", "{{ messages }}"), write("L", "as you like"));
        let lora = write("a.gguf", "weights");
        let done = fake
            .run(&[
                "package",
                "--from",
                "smollm2",
                "--context-size",
                "256",
                "--chat-template",
                &template,
                "--license",
                &licence,
                "--license",
                &licence,
                "--lora",
                &lora,
                "mine",
            ])
            .await;
        let id = format!("sha256:{}", "e".repeat(64));
        assert_eq!(done.out, format!("Model \"mine\" packaged as {id}\n"), "{}", done.err);
        assert_eq!(fake.all(), ["GET /version", "POST /models/smollm2/repackage"]);
        let sent: serde_json::Value = serde_json::from_slice(&fake.uploaded()).unwrap();
        let expected = serde_json::json!({
            "target": "mine:latest", "context_size": 256, "chat_template": "{{ messages }}",
            "licenses": ["as you like", "as you like"], "lora": [lora],
        });
        assert_eq!(sent, expected);
    }
}
