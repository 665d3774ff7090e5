use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::service::{Followed, TcpSocket, follow};
use super::{CliError, Printer, service};
use crate::client::{Client, ClientError};
use crate::config::{
    Env, Sources, TCP_PORT, Tls, is_for_others, keep, kept, loopback_address, public_stays,
    socket_path,
};
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
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tcp {
    address: Option<String>,
    listeners: Vec<Listener>,
    waiting: Vec<Waiting>,
    closed: Vec<String>,
    kept: Option<String>,
    settings_file: Option<String>,
    changed: bool,
    notes: Vec<String>,
}

/// One of its listeners.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Listener {
    address: String,
    url: String,
    audience: String,
    token_required: bool,
    certificate: Option<String>,
    inherited: bool,
}

/// One that is to be opened as soon as it can be.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    address: String,
    audience: String,
    setting: String,
    origin: String,
    problem: String,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    sources: &Sources,
    printer: &mut Printer,
) -> Result<(), CliError> {
    match args.what {
        What::Enable(args) => enable(args, client, sources, printer).await,
        What::Disable(args) => disable(args, client, sources, printer).await,
        What::Status(args) if args.json => printer.json(&client.get::<Value>("/modeld/tcp").await?),
        What::Status(_) => {
            let asked = client.get("/modeld/tcp").await;
            if matches!(asked, Err(ClientError::NotRunning { .. })) && is_own(client, sources) {
                note_settings(sources, printer);
            }
            show(&asked?, "", printer)
        }
    }
}

async fn enable(
    args: Enable,
    client: &Client,
    sources: &Sources,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let Enable { port, bind, containers } = args;
    let body = |released: &[SocketAddr]| json!({"host": bind, "port": port, "containers": containers, "released": released});
    let mut tcp: Tcp = match client.put("/modeld/tcp", &body(&[])).await {
        Ok(tcp) => tcp,
        Err(ClientError::NotRunning { .. }) if is_own(client, sources) => {
            let address = loopback_address(&bind, port).map_err(CliError::Usage)?;
            return enable_later(address, containers, sources, printer);
        }
        Err(other) => return Err(other.into()),
    };
    let followed = match tcp.address.as_deref().and_then(|text| text.parse().ok()) {
        Some(address) if is_own(client, sources) => follow_manager(TcpSocket::Open(address)),
        Some(_) | None => Followed::default(),
    };
    if !followed.closed.is_empty() {
        let again = client.put("/modeld/tcp", &body(&followed.closed)).await?;
        tcp = Tcp { changed: tcp.changed, ..again };
    }
    show(&tcp, if tcp.changed { "" } else { "already " }, printer)?;
    note_file(&tcp, sources, printer);
    followed.note(printer);
    Ok(())
}

/// There is no daemon; the next one finds the choice in the settings file.
fn enable_later(
    address: SocketAddr,
    containers: bool,
    sources: &Sources,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let (tcp, bridge) = (address.to_string(), format!(":{}", address.port()));
    let mut choices = vec![("tcp", Some(tcp.as_str()))];
    if containers {
        choices.push(("containers", Some(bridge.as_str())));
    }
    let before = sources.user_file().and_then(|file| kept(&file, "tcp").ok().flatten());
    if let (Some(file), Some(before)) = (sources.user_file(), before.as_deref())
        && is_for_others(before)
    {
        let problem = public_stays(&file, before);
        return Err(CliError::Failed(format!("modeld is not running, and {problem}")));
    }
    remember(sources, &choices)?;
    let followed = follow_manager(TcpSocket::Open(address));
    // What cannot be read is for the daemon to complain of.
    let config = sources.shown().map(|(config, _)| config).ok();
    let tls = config.as_ref().and_then(|config| config.tls.value.as_ref());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{tcp}");
    printer.line(format!("modeld is not running; it will listen on {url} from its next start"))?;
    if let Some(before) = before.filter(|before| *before != tcp) {
        let before = if before.is_empty() { "true" } else { &before };
        printer.note(format!("The settings file said tcp = {before} before"));
    }
    followed.note(printer);
    let certificate = tls.map(|tls| match tls {
        Tls::SelfSigned => "authority".to_owned(),
        Tls::Files { .. } => "file".to_owned(),
    });
    let token_required = config.is_some_and(|config| config.require_token.value);
    hint(&Listener { url, token_required, certificate, ..Listener::default() }, printer);
    Ok(())
}

async fn disable(
    args: Disable,
    client: &Client,
    sources: &Sources,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let path = format!("/modeld/tcp?containers={}", args.containers);
    let what = if args.containers { "for containers" } else { "on TCP" };
    let mut answer = match client.delete::<Tcp>(&path).await {
        Ok(tcp) => Some(tcp),
        Err(ClientError::NotRunning { .. }) if is_own(client, sources) => None,
        Err(other) => return Err(other.into()),
    };
    let followed = match is_own(client, sources) && !args.containers {
        true => follow_manager(TcpSocket::Close),
        false => Followed::default(),
    };
    match answer.as_mut() {
        Some(tcp) => {
            if !followed.closed.is_empty() {
                let closed: Vec<String> = followed.closed.iter().map(ToString::to_string).collect();
                let again: Tcp =
                    client.delete(&format!("{path}&released={}", closed.join(","))).await?;
                *tcp = Tcp { changed: tcp.changed, ..again };
            }
            let already = if tcp.changed { "no longer listens" } else { "did not listen" };
            printer.line(format!("modeld {already} {what}"))?;
            tcp.notes.iter().for_each(|note| printer.note(note));
            note_file(tcp, sources, printer);
        }
        None => {
            let mut choices = vec![("containers", Some("off"))];
            if !args.containers {
                choices.push(("tcp", Some("off")));
            }
            remember(sources, &choices)?;
            printer.line(format!(
                "modeld is not running; it will not listen {what} from its next start"
            ))?;
        }
    }
    followed.note(printer);
    Ok(())
}

fn show(tcp: &Tcp, already: &str, printer: &mut Printer) -> Result<(), CliError> {
    let mut found = tcp.listeners.iter().filter(|one| is_of_tcp(&one.audience));
    let told = found.next();
    match told {
        Some(one) => printer.line(format!("modeld {already}listens on {}", described(one)))?,
        None if tcp.waiting.iter().any(|one| is_of_tcp(&one.audience)) => {
            printer.line("modeld does not listen on TCP yet")?;
        }
        None => printer.line("modeld does not listen on TCP; modeld tcp enable changes that")?,
    }
    for one in found {
        printer.line(format!("also on {}", described(one)))?;
    }
    for (audience, words) in [("containers", "for containers"), ("ollama", "for Ollama's clients")]
    {
        for one in tcp.listeners.iter().filter(|one| one.audience == audience) {
            printer.line(format!("{words}: {}", described(one)))?;
        }
    }
    for Waiting { setting, origin, problem, .. } in &tcp.waiting {
        printer.line(format!(
            "not open yet: {problem} ({setting}, as {origin} says); modeld listens there as soon as \
             it can"
        ))?;
    }
    for address in &tcp.closed {
        printer.line(format!(
            "closed: {address}, a socket of the service manager where who connects is disconnected"
        ))?;
    }
    let is_told = |kept: &&String| {
        Some(*kept) == tcp.address.as_ref() || tcp.waiting.iter().any(|one| one.address == **kept)
    };
    if let Some(kept) = tcp.kept.as_ref().filter(|kept| !is_told(kept)) {
        printer.note(format!("The settings file says tcp = {kept} for the next start"));
    }
    tcp.notes.iter().for_each(|note| printer.note(note));
    if let Some(told) = told {
        hint(told, printer);
    }
    Ok(())
}

fn is_of_tcp(audience: &str) -> bool {
    matches!(audience, "loopback" | "network")
}

/// `https://0.0.0.0:12434, from other machines too, with a token`
fn described(one: &Listener) -> String {
    let scheme = one.url.split_once("://").map_or("http", |(scheme, _)| scheme);
    let mut text = format!("{scheme}://{}", one.address);
    if one.audience == "network" {
        text.push_str(", from other machines too");
    }
    if one.token_required {
        text.push_str(", with a token");
    }
    if one.inherited {
        text.push_str(", on a socket of the service manager");
    }
    text
}

/// What a shell has to be told, so that clients find the listener.
fn hint(one: &Listener, printer: &mut Printer) {
    let url = &one.url;
    printer.note(format!("export OPENAI_BASE_URL={url}/engines/v1"));
    if one.token_required {
        printer.note("export OPENAI_API_KEY=mdl_…  # a token: modeld token create");
        printer.note(format!(
            "export OLLAMA_HOST={url}  # for clients that send a token; `ollama` itself sends none"
        ));
    } else {
        printer.note("export OPENAI_API_KEY=any");
        printer.note(format!("export OLLAMA_HOST={url}"));
    }
    match one.certificate.as_deref() {
        Some("authority") => printer.note(
            "modeld tls ca > modeld-ca.pem; export SSL_CERT_FILE=$PWD/modeld-ca.pem  # for Node: \
             NODE_EXTRA_CA_CERTS",
        ),
        Some(_) => printer.note("# Say a name of the certificate in place of the address."),
        None => {}
    }
}

/// A file was named, and the daemon that runs has another one.
fn note_file(tcp: &Tcp, sources: &Sources, printer: &mut Printer) {
    let own = sources.user_file().filter(|_| sources.named.is_some());
    if let (Some(own), Some(theirs)) = (own, &tcp.settings_file)
        && own.display().to_string() != *theirs
    {
        printer.note(format!(
            "The daemon that runs keeps this in {theirs}; {} was left alone",
            own.display()
        ));
    }
}

/// What the next daemon will do, where none runs.
fn note_settings(sources: &Sources, printer: &mut Printer) {
    let Ok((config, _)) = sources.shown() else { return };
    printer.note(match config.tcp.value {
        Some(address) => {
            format!("Its settings have it listen on {address} ({})", config.tcp.origin)
        }
        None => "Its settings have it listen on no TCP".to_owned(),
    });
}

/// Whether the daemon is the one of this user here, whose settings are ours to write.
pub(super) fn is_own(client: &Client, sources: &Sources) -> bool {
    let env = sources.read().unwrap_or_else(|_| sources.env.clone());
    socket_path(None, &env)
        .is_ok_and(|own| client.endpoint() == format!("unix://{}", own.value.display()))
}

fn remember(sources: &Sources, choices: &[(&str, Option<&str>)]) -> Result<(), CliError> {
    let file = sources.user_file().ok_or_else(|| {
        CliError::Failed("there is no home directory to keep the choice in".to_owned())
    })?;
    keep(&file, choices).map(drop).map_err(|e| CliError::Failed(e.to_string()))
}

/// The manager's socket follows where there is one. What it refuses is worth a line, no failure:
/// the daemon has done what was asked.
fn follow_manager(choice: TcpSocket) -> Followed {
    let context = service::Context::of(&Env::from_process(), "modeld".into(), &SystemPrograms);
    context.and_then(|context| follow(&context, choice)).unwrap_or_else(|error| {
        Followed::noting(format!("the service manager does not follow: {error}"))
    })
}
