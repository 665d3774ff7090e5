//! A registry that does what a test wants: it serves manifests and blobs at a chosen speed, with
//! ranges, breaks its answers by a script, holds them back, and counts every byte. It serves from
//! threads of its own and knows nothing of modeld.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::layout::sha256;

/// How much is written at once.
const PIECE: usize = 64 << 10;

/// What is wrong with one answer for a blob.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends before this byte of the blob.
    CutAt(u64),
    /// Nothing comes from this byte on, and the connection stays.
    HangAt(u64),
    /// This status, these headers, no body.
    Status(u16, Vec<(&'static str, String)>),
    /// The right bytes, and a `Content-Range` that names others.
    WrongRange,
    /// The whole blob with 200, whatever was asked for.
    NoRanges,
    /// `Content-Encoding: gzip`.
    Gzip,
    /// This byte of the blob is another one.
    Flip(u64),
    /// 307 to the same path below this URL.
    Redirect(String),
}

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// What is served for a path.
#[derive(Clone)]
struct Content {
    kind: &'static str,
    bytes: Arc<[u8]>,
    /// Layers are slow and break; manifests and configs are not.
    layer: bool,
}

#[derive(Default)]
struct State {
    contents: HashMap<String, Content>,
    /// For the next answers with layers, one each.
    script: VecDeque<Fault>,
    /// For all answers after the script.
    always: Option<Fault>,
    /// Bytes per second of one connection.
    rate: Option<u64>,
    /// No byte of a layer from this one on leaves before it is taken away.
    hold: Option<u64>,
    /// What `Authorization` has to be.
    user: Option<String>,
    seen: Vec<Seen>,
    /// Bytes of layers that left.
    served: u64,
    stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The registry; ends with the value.
pub struct FakeRegistry {
    /// `127.0.0.1:PORT`, as references begin.
    pub host: String,
    at: SocketAddr,
    shared: Arc<Shared>,
}

impl FakeRegistry {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.lock().stopped {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&accepting)) else { continue };
                std::thread::spawn(move || {
                    let _ = shared.serve(&stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { host: at.to_string(), at, shared }
    }

    /// Has a model of these layers as `name:latest`; returns its id.
    pub fn model(&self, name: &str, layers: &[(&str, &[u8])]) -> String {
        let config = json!({
            "config": {"format": "gguf", "architecture": "llama"},
            "descriptor": {"created": "2026-01-01T00:00:00Z"},
            "rootfs": {
                "type": "rootfs",
                "diff_ids": layers.iter().map(|(_, bytes)| digest(bytes)).collect::<Vec<_>>(),
            },
        });
        let config = config.to_string().into_bytes();
        let entry = |kind: &str, bytes: &[u8]| -> Value {
            json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": entry("application/vnd.docker.ai.model.config.v0.1+json", &config),
            "layers": layers.iter().map(|(kind, bytes)| entry(kind, bytes)).collect::<Vec<_>>(),
        });
        for (_, bytes) in layers {
            self.blob(name, bytes, true);
        }
        self.blob(name, &config, false);
        self.manifest(name, manifest.to_string().as_bytes())
    }

    /// Has a blob under the path of `name`.
    pub fn blob(&self, name: &str, bytes: &[u8], layer: bool) {
        let content = Content { kind: "application/octet-stream", bytes: bytes.into(), layer };
        let path = format!("/v2/{name}/blobs/{}", digest(bytes));
        self.shared.lock().contents.insert(path, content);
    }

    /// Has this manifest as `name:latest` and by its digest, which is returned.
    pub fn manifest(&self, name: &str, manifest: &[u8]) -> String {
        self.manifest_as("application/vnd.oci.image.manifest.v1+json", name, manifest)
    }

    /// The same, sent as another type.
    pub fn manifest_as(&self, kind: &'static str, name: &str, manifest: &[u8]) -> String {
        let content = Content { kind, bytes: manifest.into(), layer: false };
        let id = digest(manifest);
        let mut state = self.shared.lock();
        for tag in ["latest", &id] {
            state.contents.insert(format!("/v2/{name}/manifests/{tag}"), content.clone());
        }
        id
    }

    /// What `modeld` calls `name` of this registry.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// The next answers with layers have these faults, one each.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().script = faults.into_iter().collect();
    }

    /// All answers with layers have this fault, when the script has come to its end.
    pub fn always(&self, fault: Option<Fault>) {
        self.shared.lock().always = fault;
    }

    /// Whether every fault of the script was shown.
    pub fn script_is_over(&self) -> bool {
        self.shared.lock().script.is_empty()
    }

    /// Layers leave at so many bytes per second and connection.
    pub fn rate(&self, rate: Option<u64>) {
        self.shared.lock().rate = rate;
    }

    /// Layers stop before this byte until they are let go on.
    pub fn hold(&self, at: Option<u64>) {
        self.shared.lock().hold = at;
        self.shared.changed.notify_all();
    }

    /// Answers only who sends this `Authorization`.
    pub fn user(&self, authorization: &str) {
        self.shared.lock().user = Some(authorization.to_owned());
    }

    /// Bytes of layers that left so far.
    pub fn served(&self) -> u64 {
        self.shared.lock().served
    }

    /// Waits until so many bytes of layers have left in all.
    #[track_caller]
    pub fn wait_served(&self, bytes: u64) {
        let limit = Duration::from_secs(60);
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), limit, |state| state.served < bytes)
            .expect("no panic");
        assert!(!waited.timed_out(), "{} of {bytes} bytes were served", state.served);
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// What it was asked for of this blob.
    pub fn seen_of(&self, blob: &[u8]) -> Vec<Seen> {
        let end = format!("/blobs/{}", digest(blob));
        self.seen().into_iter().filter(|seen| seen.path.ends_with(&end)).collect()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        // So that the thread that accepts looks up.
        let _ = TcpStream::connect(self.at);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Answers one request after the other.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(seen) = read_request(&mut reader)? {
            let (content, fault) = {
                let mut state = self.lock();
                state.seen.push(seen.clone());
                if state.stopped {
                    return Ok(());
                }
                if state.user.is_some() && state.user != seen.authorization {
                    let challenge = ("WWW-Authenticate", "Basic realm=\"fake\"".to_owned());
                    drop(state);
                    head(stream, 401, &[challenge], 0)?;
                    continue;
                }
                let content = state.contents.get(&seen.path).cloned();
                let fault = match &content {
                    Some(content) if content.layer => {
                        state.script.pop_front().or_else(|| state.always.clone())
                    }
                    _ => None,
                };
                (content, fault)
            };
            match content {
                Some(content) => self.content(stream, &seen, &content, fault)?,
                None => head(stream, 404, &[], 0)?,
            }
        }
        Ok(())
    }

    fn content(
        &self,
        stream: &TcpStream,
        seen: &Seen,
        content: &Content,
        fault: Option<Fault>,
    ) -> io::Result<()> {
        let size = content.bytes.len() as u64;
        let mut headers = vec![
            ("Content-Type", content.kind.to_owned()),
            ("ETag", format!("\"{}\"", digest(&content.bytes))),
        ];
        let (mut status, mut range) = match seen.range.as_deref().and_then(|r| parse(r, size)) {
            Some(range) => (206, range),
            None => (200, 0..size),
        };
        let (mut cut, mut hang, mut flip, mut shown) = (u64::MAX, u64::MAX, None, range.clone());
        match fault {
            Some(Fault::Status(status, headers)) => return head(stream, status, &headers, 0),
            Some(Fault::Redirect(to)) => {
                let to = ("Location", format!("{to}{}", seen.path));
                return head(stream, 307, &[to], 0);
            }
            Some(Fault::NoRanges) => (status, range) = (200, 0..size),
            Some(Fault::WrongRange) => shown = range.start + 1..range.end,
            Some(Fault::Gzip) => headers.push(("Content-Encoding", "gzip".to_owned())),
            Some(Fault::CutAt(at)) => cut = at,
            Some(Fault::HangAt(at)) => hang = at,
            Some(Fault::Flip(at)) => flip = Some(at),
            None => {}
        }
        if status == 206 {
            let text = format!("bytes {}-{}/{size}", shown.start, shown.end - 1);
            headers.push(("Content-Range", text));
        }
        head(stream, status, &headers, range.end - range.start)?;
        if !content.layer {
            return write(stream, &content.bytes[index(&range)]);
        }
        let (started, first) = (Instant::now(), range.start);
        let mut at = range.start;
        while at < range.end {
            let end = (at + PIECE as u64).min(range.end).min(cut.max(at)).min(hang.max(at));
            if at >= hang {
                let state = self.changed.wait_while(self.lock(), |state| !state.stopped);
                drop(state.expect("no panic"));
                return Ok(());
            }
            if !self.may_go_on(at, started, at - first) {
                return Ok(());
            }
            let mut piece = content.bytes[index(&(at..end))].to_vec();
            if let Some(flip) = flip.filter(|flip| (at..end).contains(flip)) {
                piece[(flip - at) as usize] ^= 1;
            }
            write(stream, &piece)?;
            self.lock().served += end - at;
            self.changed.notify_all();
            at = end;
            if at >= cut {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }

    /// Waits until the next piece is due; `false` when it never will be.
    fn may_go_on(&self, at: u64, started: Instant, sent: u64) -> bool {
        let mut state = self.lock();
        loop {
            let held = state.hold.is_some_and(|hold| at >= hold);
            let due = state.rate.map(|rate| Duration::from_secs_f64(sent as f64 / rate as f64));
            let left = due.unwrap_or_default().saturating_sub(started.elapsed());
            if state.stopped {
                return false;
            }
            if !held && left.is_zero() {
                return true;
            }
            let left = if held { Duration::from_secs(1) } else { left };
            state = self.changed.wait_timeout(state, left).expect("no panic").0;
        }
    }
}

/// `None` where the client has hung up.
fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut seen = Seen { path, authorization: None, range: None };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { return Ok(Some(seen)) };
        let value = Some(value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.authorization = value,
            "range" => seen.range = value,
            _ => {}
        }
    }
}

fn head(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(&'static str, String)],
    length: u64,
) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes())
}

fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

fn parse(range: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let end = last.parse::<u64>().map_or(size, |last| (last + 1).min(size));
    (first < end).then_some(first..end)
}

fn index(range: &Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// `sha256:` and 64 digits.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}
