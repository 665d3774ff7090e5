use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Dropped, Queue};

/// Where systemd's journal takes entries.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Sends events to systemd's journal in its native protocol
/// (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): each with its priority, and each of its fields as
/// `MODELD_NAME`, so that `journalctl MODELD_STATUS=500` finds them. The message has them too.
///
/// An entry that is larger than a datagram may be is lost, and counted.
#[derive(Debug)]
pub struct Journal {
    queue: Queue,
}

impl Journal {
    /// Finds the journal.
    ///
    /// # Errors
    /// Nobody listens there, or no thread can be made.
    pub fn connect(socket: &Path, dropped: Dropped) -> io::Result<(Self, Queue)> {
        let journal = UnixDatagram::unbound()?;
        journal.connect(socket)?;
        let socket = socket.to_owned();
        let queue = Queue::start("log-journal", dropped, move |entry| {
            match journal.send(entry) {
                // The journal was restarted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    journal.connect(&socket)?;
                    journal.send(entry).map(drop)
                }
                sent => sent.map(drop),
            }
        })?;
        Ok((Self { queue: queue.clone() }, queue))
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let mut entry = Vec::with_capacity(512);
        put(&mut entry, "PRIORITY", priority(*metadata.level()));
        put(&mut entry, "SYSLOG_IDENTIFIER", "modeld");
        put(&mut entry, "TARGET", metadata.target());
        put(&mut entry, "MESSAGE", fields.line(metadata.target()).as_str());
        for (name, value) in &fields.others {
            put(&mut entry, &journal_name(name), value);
        }
        self.queue.push(&entry);
    }
}

/// syslog's numbers, from "error" to "debug".
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// Capital letters, digits and underscores, at most 64 of them.
fn journal_name(name: &str) -> String {
    // What the access line calls its id is a request's.
    let name = if name == "id" { "request_id" } else { name };
    let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    format!("MODELD_{}", plain.take(50).collect::<String>().to_ascii_uppercase())
}

/// With its length in front, so that a value may have newlines.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
    entry.extend_from_slice(&length.to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    /// As the other places show it.
    fn line(&self, target: &str) -> String {
        let mut line = self.message.clone();
        if line.is_empty() {
            target.clone_into(&mut line);
        }
        for (name, value) in &self.others {
            let _ = write!(line, " {name}={value}");
        }
        line
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.others.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn field(name: &str, value: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, name, value);
        bytes
    }

    #[test]
    fn an_event_is_an_entry_with_its_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        journal.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (layer, queue) = Journal::connect(&path, Dropped::default()).unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "modeld::access", id = "r-1", status = 500, route = "/x", "a\nb");
        });
        assert!(queue.flush(Duration::from_secs(20)));
        let mut entry = [0; 4096];
        let length = journal.recv(&mut entry).unwrap();
        let wanted = [
            field("PRIORITY", "4"),
            field("SYSLOG_IDENTIFIER", "modeld"),
            field("TARGET", "modeld::access"),
            field("MESSAGE", "a\nb id=r-1 status=500 route=/x"),
            field("MODELD_REQUEST_ID", "r-1"),
            field("MODELD_STATUS", "500"),
            field("MODELD_ROUTE", "/x"),
        ];
        assert_eq!(entry[..length], wanted.concat());
        assert_eq!(wanted[0], b"PRIORITY\n\x01\0\0\0\0\0\0\x004\n");
    }

    #[test]
    fn where_there_is_no_journal_that_is_said() {
        assert!(Journal::connect(Path::new("/nowhere/socket"), Dropped::default()).is_err());
    }
}
