use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use secrecy::{ExposeSecret as _, SecretString};

use super::table::{Align, Table};
use super::{CliError, Printer};
use crate::client::Client;
use crate::client::wire::Login;

/// The longest password or token, in bytes.
const MAX_SECRET: u64 = 16 << 10;

/// The names of the registry that knows users by a token alone.
const TOKEN_REGISTRIES: [&str; 3] = ["huggingface.co", "hf.co", "www.huggingface.co"];

/// Log in to a registry
///
/// The daemon checks the credential with the registry and keeps it in a file that is yours alone.
/// Docker's own logins are used without this.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its host: docker.io, ghcr.io, localhost:5000; huggingface.co takes a token
    #[arg(default_value = "docker.io")]
    registry: String,
    /// The user name
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// Read the password, or the access token in its place, from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Read a token that goes without a user name from standard input
    #[arg(long, conflicts_with_all = ["password_stdin", "username"])]
    token_stdin: bool,
    /// Show the logins instead
    #[arg(long, conflicts_with_all = ["username", "password_stdin", "token_stdin"])]
    list: bool,
}

/// Where names and secrets are typed.
pub(super) trait Input {
    /// Whether a person can be asked.
    fn is_terminal(&self) -> bool;
    /// A line that may be seen.
    fn line(&mut self) -> io::Result<String>;
    /// A line that is typed without being shown.
    fn hidden(&mut self) -> io::Result<SecretString>;
    /// Everything that is piped in.
    fn all(&mut self) -> io::Result<SecretString>;
}

/// The process's own standard input.
pub(super) struct Terminal;

impl Input for Terminal {
    fn is_terminal(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        io::stdin().lock().take(MAX_SECRET).read_line(&mut line).map(|_| line)
    }

    fn hidden(&mut self) -> io::Result<SecretString> {
        rpassword::read_password().map(SecretString::from)
    }

    fn all(&mut self) -> io::Result<SecretString> {
        let mut text = String::new();
        io::stdin().lock().take(MAX_SECRET + 1).read_to_string(&mut text)?;
        Ok(SecretString::from(text))
    }
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
    input: &mut impl Input,
) -> Result<(), CliError> {
    if args.list {
        return list(client, printer).await;
    }
    let by_token =
        args.token_stdin || TOKEN_REGISTRIES.contains(&args.registry.to_ascii_lowercase().as_str());
    let (username, secret) = match by_token {
        true => (None, secret(&args, "Token", printer, input)?),
        false => {
            let username = username(&args, printer, input)?;
            (Some(username), secret(&args, "Password", printer, input)?)
        }
    };
    let text = Some(secret.expose_secret());
    let login = Login {
        registry: &args.registry,
        username: username.as_deref(),
        password: text.filter(|_| !by_token),
        token: text.filter(|_| by_token),
    };
    let done = client.log_in(&login).await?;
    let user = done.username.map(|user| format!(" as {user}")).unwrap_or_default();
    if !done.verified {
        printer.note(format!(
            "{} asks nobody for credentials; the login is kept, but nothing has confirmed it",
            done.registry
        ));
    }
    printer.line(format!("Logged in to {}{user}", done.registry))
}

async fn list(client: &Client, printer: &mut Printer) -> Result<(), CliError> {
    let mut table = Table::new(&[("REGISTRY", Align::Left), ("USER", Align::Left)]);
    for login in client.logins().await? {
        table.row(vec![login.registry, login.username.unwrap_or_default()]);
    }
    printer.text(&table.render())
}

fn username(
    args: &Args,
    printer: &mut Printer,
    input: &mut impl Input,
) -> Result<String, CliError> {
    let typed = match &args.username {
        Some(username) => username.clone(),
        None if input.is_terminal() && !args.password_stdin => {
            printer.prompt("Username: ");
            input.line().map_err(unreadable)?
        }
        None => {
            return Err(CliError::Usage(
                "say who logs in with --username, or bring a token with --token-stdin".to_owned(),
            ));
        }
    };
    match typed.trim() {
        "" => Err(CliError::Usage("the user name is empty".to_owned())),
        name => Ok(name.to_owned()),
    }
}

fn secret(
    args: &Args,
    what: &str,
    printer: &mut Printer,
    input: &mut impl Input,
) -> Result<SecretString, CliError> {
    let typed = if args.password_stdin || args.token_stdin {
        input.all()
    } else if input.is_terminal() {
        printer.prompt(&format!("{what}: "));
        input.hidden()
    } else {
        let flag = if what == "Token" { "--token-stdin" } else { "--password-stdin" };
        return Err(CliError::Usage(format!(
            "standard input is no terminal: pipe the {} in with {flag}",
            what.to_lowercase()
        )));
    };
    let typed = typed.map_err(unreadable)?;
    // Whatever writes a file ends it with a line.
    let secret = typed.expose_secret().trim_end_matches(['\n', '\r']);
    match u64::try_from(secret.len()) {
        Ok(0) => Err(CliError::Usage(format!("the {} is empty", what.to_lowercase()))),
        Ok(1..=MAX_SECRET) => Ok(SecretString::from(secret)),
        _ => Err(CliError::Usage(format!(
            "the {} has more than {MAX_SECRET} bytes",
            what.to_lowercase()
        ))),
    }
}

fn unreadable(error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::Interrupted => CliError::Interrupted,
        _ => CliError::Failed(format!("cannot read standard input: {error}")),
    }
}

/// A person, or a pipe, of a test.
#[cfg(test)]
pub(super) enum Typed {
    Terminal { lines: Vec<&'static str> },
    Pipe(&'static str),
}

#[cfg(test)]
impl Input for Typed {
    fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    fn line(&mut self) -> io::Result<String> {
        match self {
            Self::Terminal { lines } if !lines.is_empty() => Ok(lines.remove(0).to_owned()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn hidden(&mut self) -> io::Result<SecretString> {
        self.line().map(SecretString::from)
    }

    fn all(&mut self) -> io::Result<SecretString> {
        match self {
            Self::Pipe(text) => Ok(SecretString::from(*text)),
            Self::Terminal { .. } => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Done, Fake};
    use super::Typed;
    use serde_json::{Value, json};

    async fn login(args: &[&str], input: Typed) -> (Done, Value) {
        let fake = Fake::start().await;
        let done = fake.log_in(args, input).await;
        (done, serde_json::from_slice(&fake.uploaded()).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_person_types_name_and_password() {
        let (done, sent) =
            login(&[], Typed::Terminal { lines: vec!["me \n", " pass word "] }).await;
        assert_eq!(done.out, "Logged in to docker.io as me\n", "{}", done.err);
        assert_eq!(done.err, "Username: Password: ");
        let whole = json!({"registry": "docker.io", "username": "me", "password": " pass word "});
        assert_eq!(sent, whole);
    }

    #[tokio::test]
    async fn a_script_pipes_the_password_in() {
        let args = ["localhost:5000", "-u", "me", "--password-stdin"];
        let (done, sent) = login(&args, Typed::Pipe("p\r\n")).await;
        assert_eq!(
            (done.out.as_str(), done.err.as_str()),
            ("Logged in to localhost:5000 as me\n", "")
        );
        assert_eq!(sent["password"], "p");
    }

    #[tokio::test]
    async fn a_token_goes_alone() {
        let token = json!({"registry": "HF.co", "token": "hf_x"});
        let (_, sent) = login(&["HF.co"], Typed::Terminal { lines: vec!["hf_x"] }).await;
        assert_eq!(sent, token);
        let (_, sent) = login(&["HF.co", "--token-stdin"], Typed::Pipe("hf_x\n")).await;
        assert_eq!(sent, token);
        let (_, sent) = login(&["ghcr.io", "--token-stdin"], Typed::Pipe("t")).await;
        assert_eq!(sent, json!({"registry": "ghcr.io", "token": "t"}));
    }

    #[tokio::test]
    async fn a_refused_password_is_a_failure_and_is_not_repeated() {
        let (done, _) = login(&["-u", "me", "--password-stdin"], Typed::Pipe("wrong")).await;
        assert_eq!(done.code, 1);
        let said = "modeld: the login to docker.io failed: wrong password; nothing was stored\n";
        assert_eq!((done.out.as_str(), done.err.as_str()), ("", said));
    }

    #[tokio::test]
    async fn a_login_that_nobody_confirmed_says_so() {
        let args = ["open.example", "-u", "me", "--password-stdin"];
        let (done, _) = login(&args, Typed::Pipe("p")).await;
        assert!(done.err.contains("open.example asks nobody"), "{}", done.err);
        assert_eq!(done.code, 0);
    }

    #[tokio::test]
    async fn what_cannot_be_asked_for_is_a_usage_error() {
        for (args, input) in [
            (vec![], Typed::Pipe("p")),
            (vec!["--password-stdin"], Typed::Pipe("p")),
            (vec!["-u", "me"], Typed::Pipe("p")),
            (vec!["hf.co"], Typed::Pipe("p")),
            (vec!["-u", "me", "--password-stdin"], Typed::Pipe("\n")),
            (vec![], Typed::Terminal { lines: vec![" "] }),
        ] {
            let (done, sent) = login(&args, input).await;
            assert_eq!((done.code, &sent), (2, &Value::Null), "{args:?}: {}", done.err);
        }
        let fake = Fake::absent();
        assert_eq!(fake.run(&["login", "-u", "me", "--token-stdin"]).await.code, 2);
    }

    #[tokio::test]
    async fn the_logins() {
        let fake = Fake::start().await;
        let done = fake.run(&["login", "--list"]).await;
        assert_eq!(done.out, "REGISTRY   USER\ndocker.io  u\nghcr.io\n");
    }
}
