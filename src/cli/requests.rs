use serde_json::Value;

use super::{CliError, Printer};
use crate::client::{Client, SseEvent};

/// Show the last requests and answers, where the daemon records
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show those to come, one a line, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// With --follow: first those that there are
    #[arg(long, requires = "follow")]
    include_existing: bool,
    /// Those of this model only
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

pub(super) async fn run(
    args: Args,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), CliError> {
    let mut query = url::form_urlencoded::Serializer::new("/engines/requests?".to_owned());
    if let Some(model) = &args.model {
        query.append_pair("model", model);
    }
    if args.include_existing {
        query.append_pair("include_existing", "true");
    }
    let path = query.finish();
    if !args.follow {
        let records: Value = client.get(&path).await?;
        return printer.json(&records);
    }
    let mut events = client.get_stream(&path, "text/event-stream").await?.events();
    while let Some(event) = events.next().await? {
        let SseEvent::Data(data) = event else { continue };
        let data: Value = serde_json::from_str(&data)
            .map_err(|e| CliError::Failed(format!("an event cannot be read: {e}")))?;
        if let Some(lost) = data.get("lost") {
            printer.note(format!("{lost} records were left out: they came too fast"));
        } else if data.is_array() {
            printer.line(data.to_string())?;
        }
    }
    Ok(())
}
