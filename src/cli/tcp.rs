use serde::Deserialize;
use serde_json::json;

use super::service::{TcpSocket, follow};
use super::{CliError, Printer, service};
use crate::client::{Client, ClientError};
use crate::config::{Env, RawConfig, Sources, TCP_PORT, keep, loopback_address};
use crate::doctor::SystemPrograms;

/// Listen on TCP, or stop to, while the daemon runs and from then on
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Listen on TCP, now and after a restart
    Enable(Enable),
    /// Listen on TCP no more; what is being answered there ends normally
    Disable(Disable),
    /// Show where it listens
    Status(Status),
}

#[derive(Debug, clap::Args)]
struct Enable {
    /// The port
    #[arg(long, value_name = "N", default_value_t = TCP_PORT)]
    port: u16,
    /// The address, one of loopback
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: String,
    /// Listen for containers as well, at the same port of their bridge's address
    #[arg(long)]
    containers: bool,
}

#[derive(Debug, clap::Args)]
struct Disable {
    /// For containers alone
    #[arg(long)]
    containers: bool,
}

#[derive(Debug, clap::Args)]
struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the daemon answers.
#[derive(Debug, Default, Deserialize, serde::Serialize)]
#[serde(default)]
struct Tcp {
    enabled: bool,
    address: Option<String>,
    base_url: Option<String>,
    containers: Option<String>,
    inherited: bool,
    kept: Option<String>,
    changed: bool,
    notes: Vec<String>,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    match args.what {
        What::Enable(args) => enable(args, client, printer).await,
        What::Disable(args) => disable(args, client, printer).await,
        What::Status(args) => {
            let tcp: Tcp = client.get("/modeld/tcp").await?;
            if args.json {
                return printer.json(&tcp);
            }
            show(&tcp, "", printer)
        }
    }
}

async fn enable(args: Enable, client: &Client, printer: &mut Printer) -> Result<(), CliError> {
    let Enable { port, bind, containers } = args;
    let body = json!({"host": bind, "port": port, "containers": containers});
    let tcp: Tcp = match client.put("/modeld/tcp", &body).await {
        Ok(tcp) => tcp,
        Err(ClientError::NotRunning { .. }) if is_local(client) => {
            let address = loopback_address(&bind, port).map_err(CliError::Usage)?;
            let (tcp, bridge) = (address.to_string(), format!(":{port}"));
            let mut choices = vec![("tcp", Some(tcp.as_str()))];
            if containers {
                choices.push(("containers", Some(bridge.as_str())));
            }
            remember(&choices)?;
            follow_manager(Some(TcpSocket::Open(address)), printer);
            return printer.line(format!(
                "modeld is not running; it will listen on http://{tcp} from its next start"
            ));
        }
        Err(other) => return Err(other.into()),
    };
    let already = if tcp.changed { "" } else { "already " };
    show(&tcp, already, printer)?;
    if is_local(client) {
        let address = tcp.address.as_deref().and_then(|text| text.parse().ok());
        follow_manager(address.map(TcpSocket::Open), printer);
    }
    Ok(())
}

async fn disable(args: Disable, client: &Client, printer: &mut Printer) -> Result<(), CliError> {
    let path = format!("/modeld/tcp?containers={}", args.containers);
    let what = if args.containers { "for containers" } else { "on TCP" };
    match client.delete::<Tcp>(&path).await {
        Ok(tcp) => {
            let already = if tcp.changed { "no longer listens" } else { "did not listen" };
            printer.line(format!("modeld {already} {what}"))?;
            for note in &tcp.notes {
                printer.note(note);
            }
        }
        Err(ClientError::NotRunning { .. }) if is_local(client) => {
            let mut choices = vec![("containers", None)];
            if !args.containers {
                choices.push(("tcp", None));
            }
            remember(&choices)?;
            printer.line(format!(
                "modeld is not running; it will not listen {what} from its next start"
            ))?;
        }
        Err(other) => return Err(other.into()),
    }
    if is_local(client) && !args.containers {
        follow_manager(Some(TcpSocket::Close), printer);
    }
    Ok(())
}

fn show(tcp: &Tcp, already: &str, printer: &mut Printer) -> Result<(), CliError> {
    match (&tcp.address, &tcp.base_url) {
        (Some(address), Some(base)) => {
            let held = if tcp.inherited { ", on a socket of the service manager" } else { "" };
            printer.line(format!("modeld {already}listens on http://{address}{held}"))?;
            printer.note(format!("Clients of OpenAI's API: {base}, with any key"));
        }
        _ => printer.line("modeld does not listen on TCP; modeld tcp enable changes that")?,
    }
    if let Some(address) = &tcp.containers {
        printer.line(format!("for containers: http://{address}"))?;
    }
    if let Some(kept) = tcp.kept.as_ref().filter(|kept| Some(*kept) != tcp.address.as_ref()) {
        printer.note(format!("The settings file says {kept} for the next start"));
    }
    for note in &tcp.notes {
        printer.note(note);
    }
    Ok(())
}

/// Whether the daemon is the one of this user here, whose settings are ours to write.
fn is_local(client: &Client) -> bool {
    client.endpoint().starts_with("unix://")
}

fn remember(choices: &[(&str, Option<&str>)]) -> Result<(), CliError> {
    let file = Sources::of_process(RawConfig::default(), None).user_file().ok_or_else(|| {
        CliError::Failed("there is no home directory to keep the choice in".to_owned())
    })?;
    keep(&file, choices).map(drop).map_err(|e| CliError::Failed(e.to_string()))
}

/// The manager's socket follows where there is one. What it refuses is worth a line, no failure:
/// the daemon has done what was asked.
fn follow_manager(choice: Option<TcpSocket>, printer: &mut Printer) {
    let Some(choice) = choice else { return };
    let context = service::Context::of(&Env::from_process(), "modeld".into(), &SystemPrograms);
    match context.and_then(|context| follow(&context, choice)) {
        Ok(notes) => notes.iter().for_each(|note| printer.note(note)),
        Err(error) => printer.note(format!("the service manager does not follow: {error}")),
    }
}
