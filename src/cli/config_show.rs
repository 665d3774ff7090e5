use clap::FromArgMatches as _;
use serde::Serialize;

use super::table::{Align, Table};
use super::{CliError, Printer, serve};
use crate::config::{Origin, Shown, Sources, or_none};

/// Print every setting and its value
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where each value comes from as well
    #[arg(long)]
    origin: bool,
    /// As JSON, with the origins
    #[arg(long)]
    json: bool,
    /// Flags of modeld serve, as it would be started with
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// A setting for programs.
#[derive(Serialize)]
struct Line<'a> {
    key: &'static str,
    value: &'a str,
    /// `default`, `file`, `variable` or `flag`.
    source: &'static str,
    /// The flag, the variable, or file and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    flag: &'static str,
    variable: &'static str,
    /// Whether a running daemon takes over another value.
    reloads: bool,
}

pub(super) fn run(args: Args, mut sources: Sources, printer: &mut Printer) -> Result<(), CliError> {
    sources.raw = flags(&args.flags)?.into_raw();
    let (config, all) = sources.shown()?;
    if args.json {
        return printer.json(&all.iter().map(Line::from).collect::<Vec<_>>());
    }
    config.notes.iter().for_each(|note| printer.note(format!("modeld: {note}")));
    let columns = [("KEY", Align::Left), ("VALUE", Align::Left), ("ORIGIN", Align::Left)];
    let [key, value, _] = columns;
    let mut table = if args.origin { Table::new(&columns) } else { Table::new(&[key, value]) };
    for Shown { setting, value, origin } in all {
        let mut row = vec![setting.key().to_owned(), or_none(&value).to_owned()];
        if args.origin {
            row.push(origin.to_string());
        }
        table.row(row);
    }
    printer.text(&table.render())
}

/// What `modeld serve` would make of them.
fn flags(given: &[String]) -> Result<serve::Args, CliError> {
    let command = <serve::Args as clap::Args>::augment_args(clap::Command::new("modeld serve"));
    let given = std::iter::once("modeld serve").chain(given.iter().map(String::as_str));
    let matches = command.no_binary_name(false).try_get_matches_from(given);
    let read = matches.and_then(|matches| serve::Args::from_arg_matches(&matches));
    read.map_err(|wrong| {
        let text = wrong.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        CliError::Usage(format!("behind --: {first}"))
    })
}

impl<'a> From<&'a Shown> for Line<'a> {
    fn from(shown: &'a Shown) -> Self {
        let Shown { setting, value, origin } = shown;
        let source = match origin {
            Origin::Default => "default",
            Origin::File { .. } => "file",
            Origin::Env(_) => "variable",
            Origin::Flag(_) => "flag",
        };
        Self {
            key: setting.key(),
            value,
            source,
            origin: (*origin != Origin::Default).then(|| origin.to_string()),
            flag: setting.flag,
            variable: setting.env,
            reloads: setting.reloads(),
        }
    }
}
