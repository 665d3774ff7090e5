use std::path::{Path, PathBuf};

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::table::{Align, Table};
use super::{CliError, Printer};
use crate::config::{self, Env, Sources, is_for_others};
use crate::tokens::{Lasting, NewToken, Scope, Token, TokenError, TokenFile};

/// Make, list and revoke the tokens of programs that use modeld over TCP
///
/// They are kept where this user's settings are. A daemon of this user takes a new one at once, and
/// refuses a revoked one from the same moment on.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a token and print it, this one time
    Create {
        /// What to call it
        #[arg(long)]
        name: Option<String>,
        /// What it is good for: to use and list models, or everything
        #[arg(long, value_parser = scope, value_name = "inference|admin", default_value = "inference")]
        scope: Scope,
        /// How long it is good: 12h, 30d, 8w; for ever, where nothing is said
        #[arg(long, value_name = "DURATION")]
        expires: Option<String>,
    },
    /// The tokens there are, without their secrets
    #[command(visible_alias = "ls")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a token back
    #[command(visible_alias = "rm")]
    Revoke {
        /// Its name or id
        name: String,
    },
}

impl Args {
    /// Whether another set of tokens holds afterwards.
    pub(super) fn changes(&self) -> bool {
        match self.what {
            What::Create { .. } | What::Revoke { .. } => true,
            What::List { .. } => false,
        }
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    match text {
        "inference" => Ok(Scope::Inference),
        "admin" => Ok(Scope::Admin),
        _ => Err("write inference or admin".to_owned()),
    }
}

pub(super) fn run(args: Args, env: &Env, printer: &mut Printer) -> Result<(), CliError> {
    let file = TokenFile::within(&directory(env)?);
    let failed = |e: TokenError| CliError::Failed(e.to_string());
    let now = Timestamp::now();
    match args.what {
        What::Create { name, scope, expires } => {
            let life = expires.map(|text| {
                let life = config::parse_age(&text).ok().filter(|life| !life.is_zero());
                let wrong = "--expires takes how long the token is good: 12h, 30d or 8w";
                life.ok_or_else(|| CliError::Usage(wrong.to_owned()))
            });
            let wanted = NewToken { name, scope, life: life.transpose()? };
            let (token, text) = file.create(wanted, now).map_err(failed)?;
            // Nobody else will ever see it.
            printer.line(text.expose_secret()).inspect_err(|_| {
                let _ = file.revoke(&token.id);
            })?;
            let end = token.expires.map_or("never".to_owned(), shown);
            printer.note(format!(
                "{} for {scope}, expires: {end}. It is shown this one time. Send it as \
                 `Authorization: Bearer …`; `modeld token revoke {0}` takes it back.",
                token.label()
            ));
            Ok(())
        }
        What::List { json: true } => {
            let tokens = file.read().map_err(failed)?;
            let tokens = tokens.iter().map(|token| {
                let Token { id, name, scope, created, expires, .. } = token;
                let time = Timestamp::to_string;
                json!({"id": id, "name": name, "scope": scope, "created": time(created),
                       "expires": expires.as_ref().map(time), "expired": token.has_expired(now)})
            });
            printer.json(&tokens.collect::<Vec<_>>())
        }
        What::List { json: false } => printer.text(&table(&file.read().map_err(failed)?, now)),
        What::Revoke { name } => {
            let token = file.revoke(&name).map_err(failed)?;
            printer.line(format!("Revoked {}", token.label()))
        }
    }
}

/// Says when the last token ends, where the settings have the daemon listen for other machines: it
/// does not start there without one, and whoever took the last one back may have meant something
/// else.
pub(super) fn note_end(sources: &Sources, printer: &mut Printer) {
    // What cannot be read is for the daemon to complain of.
    let config = config::resolve(&sources.raw, &sources.read_usable().env);
    let tcp = config.ok().and_then(|config| Some((config.tcp.value?, config.tcp.origin)));
    let public = tcp.filter(|(address, _)| is_for_others(&address.to_string()));
    let tokens = directory(&sources.env).map(|dir| TokenFile::within(&dir).read());
    let (Some((address, origin)), Ok(Ok(tokens))) = (public, tokens) else { return };
    let from = match Lasting::of(&tokens, Timestamp::now()) {
        Lasting::Forever => return,
        Lasting::Over => "No token is valid any more:".to_owned(),
        Lasting::Until(end) => format!("The last token expires at {}: from then on", shown(end)),
    };
    printer.note(format!(
        "{from} nobody is served on {address}, which is open to the network ({origin}), and \
         modeld does not start until there is a token again (modeld token create), or it is not to \
         listen there (modeld tcp disable)"
    ));
}

/// Where this user's settings are.
pub(super) fn directory(env: &Env) -> Result<Box<Path>, CliError> {
    env.own_dir().map(PathBuf::into_boxed_path).ok_or_else(|| {
        let text = "there is no directory for settings: neither XDG_CONFIG_HOME nor HOME is set";
        CliError::Failed(text.to_owned())
    })
}

fn table(tokens: &[Token], now: Timestamp) -> String {
    let columns = ["ID", "NAME", "SCOPE", "CREATED", "EXPIRES"].map(|name| (name, Align::Left));
    let mut table = Table::new(&columns);
    for token in tokens {
        let end = match token.expires {
            None => "never".to_owned(),
            Some(end) if token.has_expired(now) => format!("{} (expired)", shown(end)),
            Some(end) => shown(end),
        };
        let name = token.name.clone().unwrap_or_default();
        table.row(vec![token.id.clone(), name, token.scope.to_string(), shown(token.created), end]);
    }
    table.render()
}

fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::app::{Cli, Command};
    use super::super::testing::captured;
    use super::*;

    fn run_in(dir: &Path, args: &[&str]) -> (Result<(), CliError>, String, String) {
        let command = ["modeld", "token"].iter().chain(args);
        let args = match Cli::try_parse_from(command).unwrap().command {
            Command::Token(args) => args,
            other => panic!("{other:?}"),
        };
        let env = Env { config_dir: Some(dir.to_owned()), ..Env::default() };
        captured(|printer| run(args, &env, printer))
    }

    #[test]
    fn a_token_is_printed_once_and_listed_without_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let (done, out, err) = run_in(dir.path(), &["create", "--name", "ci", "--expires", "30d"]);
        done.unwrap();
        let secret = out.trim_end();
        assert!(secret.starts_with("mdl_") && secret.len() == 47, "{out}");
        assert!(err.starts_with("ci for inference, expires: ") && !err.contains(secret), "{err}");
        let (_, list, _) = run_in(dir.path(), &["list"]);
        assert!(list.starts_with("ID") && list.contains("ci") && !list.contains("mdl_"), "{list}");
        let (_, list, _) = run_in(dir.path(), &["list", "--json"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!((&list[0]["scope"], &list[0]["expired"]), (&"inference".into(), &false.into()));
        assert_eq!(run_in(dir.path(), &["revoke", "ci"]).1, "Revoked ci\n");
        let gone = run_in(dir.path(), &["revoke", "ci"]).0.unwrap_err();
        assert!(gone.text().unwrap().contains("modeld token list"), "{gone}");
    }

    #[test]
    fn who_listens_for_others_hears_of_the_last_token() {
        let dir = tempfile::tempdir().unwrap();
        let noted = |tcp: &str, args: &[&str]| {
            run_in(dir.path(), args).0.unwrap();
            let own = dir.path().join("modeld/config.toml");
            std::fs::write(own, format!("tcp = \"{tcp}\"\n")).unwrap();
            let env = Env {
                config_dir: Some(dir.path().to_owned()),
                runtime_dir: Some(dir.path().to_owned()),
                home: Some(dir.path().to_owned()),
                data_dir: Some(dir.path().to_owned()),
                ..Env::default()
            };
            let sources = Sources { env, ..Sources::default() };
            captured(|printer| note_end(&sources, printer)).2
        };
        let (public, own) = ("0.0.0.0:12434", "127.0.0.1:12434");
        assert_eq!(noted(public, &["create", "--name", "ever"]), "");
        assert_eq!(noted(public, &["create", "--name", "ci", "--expires", "30d"]), "");
        let said = noted(public, &["revoke", "ever"]);
        assert!(said.starts_with("The last token expires at 2"), "{said}");
        let said = noted(public, &["revoke", "ci"]);
        for word in [
            "No token is valid any more",
            public,
            "config.toml:1",
            "modeld token create",
            "modeld tcp disable",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(noted(own, &["list"]), "");
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        for args in [["create", "--expires", "soon"], ["create", "--expires", "0"]] {
            assert!(matches!(run_in(dir.path(), &args).0, Err(CliError::Usage(_))), "{args:?}");
        }
        assert!(run_in(dir.path(), &["create", "--name", "a b"]).0.is_err());
        assert!(Cli::try_parse_from(["modeld", "token", "create", "--scope", "root"]).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
