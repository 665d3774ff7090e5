//! A small blocking HTTP/1.1 client that hides nothing: it can send broken bytes, read a stream
//! event by event, and hang up whenever a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A test that waits longer than this for a single byte has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where the daemon listens.
#[derive(Clone, Debug)]
pub enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// A connection of either kind.
pub enum Wire {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Wire {
    pub fn set_patience(&self, patience: Duration) {
        let done = match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(patience)),
            Self::Tcp(stream) => stream.set_read_timeout(Some(patience)),
        };
        done.expect("a positive timeout");
    }

    /// No more bytes will be sent; what comes back can still be read.
    pub fn finish_sending(&self) {
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends requests to one address, each on a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: Address,
}

impl Client {
    pub fn connect(&self) -> Wire {
        let wire = match &self.address {
            Address::Unix(path) => UnixStream::connect(path).map(Wire::Unix),
            Address::Tcp(address) => TcpStream::connect(address).map(Wire::Tcp),
        };
        let wire = wire.unwrap_or_else(|e| panic!("connecting to {:?}: {e}", self.address));
        wire.set_patience(PATIENCE);
        wire
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    pub fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send("POST", path, JSON, body.to_string().as_bytes())
    }

    /// Sends a request and reads the whole answer.
    pub fn send(&self, method: &str, path: &str, headers: &[Header<'_>], body: &[u8]) -> Response {
        let mut answer = self.open(method, path, headers, body);
        let mut bytes = Vec::new();
        if method != "HEAD" {
            answer.body.read_to_end(&mut bytes).expect("a complete body");
        }
        Response { status: answer.status, headers: answer.headers, body: bytes }
    }

    /// Sends a request and reads the head of the answer.
    pub fn open(&self, method: &str, path: &str, headers: &[Header<'_>], body: &[u8]) -> Answer {
        let mut wire = self.connect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            let host = match &self.address {
                Address::Unix(_) => "localhost".to_owned(),
                Address::Tcp(address) => address.to_string(),
            };
            head.push_str(&format!("Host: {host}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        // A server may answer and close before it has read everything; then the answer counts.
        let _ = wire.write_all(head.as_bytes()).and_then(|()| wire.write_all(body));
        Answer::read(wire).expect("an HTTP response")
    }

    /// Starts a streamed answer; fails the test when it is no event stream.
    pub fn stream(&self, path: &str, body: &Value) -> Events {
        let mut answer = self.open("POST", path, JSON, body.to_string().as_bytes());
        if answer.status != 200 {
            let mut text = String::new();
            let _ = answer.body.read_to_string(&mut text);
            panic!("{path} answered {}: {text}", answer.status);
        }
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        assert!(kind.starts_with("text/event-stream"), "content type {kind}");
        Events { body: BufReader::new(answer.body) }
    }

    /// Sends a request and reads nothing of what comes back.
    pub fn begin(&self, path: &str, body: &Value) -> Wire {
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut wire = self.connect();
        wire.write_all((head + &body).as_bytes()).expect("a server that listens");
        wire
    }

    /// Sends bytes as they are; `None` when the connection was closed without an answer.
    pub fn raw(&self, bytes: &[u8]) -> Option<Response> {
        let mut wire = self.connect();
        let _ = wire.write_all(bytes);
        Self::read_raw(wire)
    }

    /// As [`Client::raw`], and says that there will be no more bytes.
    pub fn raw_cut_off(&self, bytes: &[u8]) -> Option<Response> {
        let mut wire = self.connect();
        let _ = wire.write_all(bytes);
        wire.finish_sending();
        Self::read_raw(wire)
    }

    fn read_raw(wire: Wire) -> Option<Response> {
        let mut answer = match Answer::read(wire) {
            Ok(answer) => answer,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                panic!("neither answered nor closed within {PATIENCE:?}")
            }
            Err(_) => return None,
        };
        let mut body = Vec::new();
        let _ = answer.body.read_to_end(&mut body);
        Some(Response { status: answer.status, headers: answer.headers, body })
    }
}

pub type Header<'a> = (&'a str, &'a str);

/// What a JSON body is sent with.
pub const JSON: &[Header<'static>] = &[("Content-Type", "application/json")];

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in the answer {}: {}", self.status, self.text()))
    }

    /// Fails the test with the body unless the status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

/// The head of an answer, with a body still to be read. Dropping it hangs up.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Body,
}

impl Answer {
    /// # Errors
    /// When the connection ends or what comes is no HTTP.
    pub fn read(wire: Wire) -> io::Result<Self> {
        let mut reader = BufReader::new(wire);
        let line = read_line(&mut reader)?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, format!("status line {line:?}"));
        let mut words = line.strip_prefix("HTTP/1.").ok_or_else(bad)?.split(' ').skip(1);
        let status = words.next().and_then(|word| word.parse().ok()).ok_or_else(bad)?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(bad)?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        if status == 100 {
            return Self::read_after_continue(reader);
        }
        let length = find(&headers, "content-length").and_then(|value| value.parse().ok());
        let framing = match length {
            _ if status == 204 || status == 304 => Framing::Length(0),
            _ if find(&headers, "transfer-encoding").is_some_and(|v| v.contains("chunked")) => {
                Framing::Chunks { left: 0 }
            }
            Some(length) => Framing::Length(length),
            None => Framing::UntilClosed,
        };
        Ok(Self { status, headers, body: Body { reader, framing } })
    }

    fn read_after_continue(reader: BufReader<Wire>) -> io::Result<Self> {
        assert!(reader.buffer().is_empty(), "the final answer came with the interim one");
        Self::read(reader.into_inner())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

/// A body without its framing. It ends cleanly or with an error, never silently in the middle.
pub struct Body {
    reader: BufReader<Wire>,
    framing: Framing,
}

enum Framing {
    Length(u64),
    Chunks { left: u64 },
    UntilClosed,
    Done,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the body was cut off");
        match self.framing {
            Framing::Done | Framing::Length(0) => Ok(0),
            Framing::UntilClosed => self.reader.read(buffer),
            Framing::Length(left) => {
                let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let count = self.reader.read(&mut buffer[..most])?;
                if count == 0 {
                    return Err(cut());
                }
                self.framing = Framing::Length(left - count as u64);
                Ok(count)
            }
            Framing::Chunks { left: 0 } => {
                let line = read_line(&mut self.reader)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let left = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
                if left == 0 {
                    while !read_line(&mut self.reader)?.is_empty() {}
                    self.framing = Framing::Done;
                    return Ok(0);
                }
                self.framing = Framing::Chunks { left };
                self.read(buffer)
            }
            Framing::Chunks { left } => {
                let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let count = self.reader.read(&mut buffer[..most])?;
                if count == 0 {
                    return Err(cut());
                }
                let left = left - count as u64;
                if left == 0 {
                    read_line(&mut self.reader)?;
                }
                self.framing = Framing::Chunks { left };
                Ok(count)
            }
        }
    }
}

/// One server-sent event.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: Option<String>,
    pub data: String,
    /// When its last byte was here.
    pub at: Instant,
}

impl Event {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("{e} in {}", self.data))
    }

    /// The text that a chat chunk adds.
    pub fn content(&self) -> String {
        let chunk: Value = serde_json::from_str(&self.data).unwrap_or_default();
        chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    }
}

/// The events of a stream; ends with the body. Comments are skipped.
pub struct Events {
    body: BufReader<Body>,
}

impl Answer {
    /// Its events, as they come.
    pub fn events(self) -> Events {
        Events { body: BufReader::new(self.body) }
    }
}

impl Events {
    /// The next event, or how the stream broke.
    pub fn try_next(&mut self) -> io::Result<Option<Event>> {
        let (mut name, mut data) = (None, Vec::new());
        loop {
            let mut line = String::new();
            if self.body.read_line(&mut line)? == 0 {
                return match data.is_empty() {
                    true => Ok(None),
                    false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "half an event")),
                };
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() && !data.is_empty() {
                return Ok(Some(Event { name, data: data.join("\n"), at: Instant::now() }));
            }
            if let Some(value) = line.strip_prefix("data:") {
                data.push(value.strip_prefix(' ').unwrap_or(value).to_owned());
            } else if let Some(value) = line.strip_prefix("event:") {
                name = Some(value.trim().to_owned());
            } else {
                assert!(line.is_empty() || line.starts_with(':'), "no SSE line: {line:?}");
            }
        }
    }

    /// Reads until the first piece of text has come.
    #[track_caller]
    pub fn first_text(&mut self) -> Event {
        loop {
            let event = self.next().expect("the stream ended before its first text");
            if !event.content().is_empty() {
                return event;
            }
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.try_next().expect("a stream that ends cleanly")
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    let line = String::from_utf8_lossy(&line);
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
