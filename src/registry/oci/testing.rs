//! A registry that answers as a test tells it to, and the plainest ways to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use oci_client::secrets::RegistryAuth;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::domain::{Digest, ModelRef};
use crate::registry::FetchError;
use crate::registry::egress::{Egress, EgressError, EgressOptions, EgressRequest, EgressResponse};
use crate::registry::media;

use super::retry::Patience;
use super::{Access, Gateway, OciOptions, OciRegistry, OpenGate};
use crate::registry::{RegistryHost, Scope};

/// A request as the fake registry got it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// An answer, as it goes over the wire after the status.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Leaves out `Content-Length`, so that the connection's end is the body's end.
    endless: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    fn bytes(&self, with_body: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_length = self.headers.iter().any(|(name, _)| name == "content-length");
        if !self.endless && !has_length {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

type Script = dyn Fn(&Asked, usize) -> Reply + Send + Sync;

/// A registry on a loopback port; ends with its test's runtime.
pub struct Fake {
    pub host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// `script` gets each request and how many there were before it on the same method and path.
    pub async fn start(script: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { host, asked }
    }

    /// A registry of fixed documents: path to reply; 404 for all else.
    pub async fn of(pages: BTreeMap<String, Reply>) -> Self {
        Self::start(move |asked, _| {
            pages.get(&asked.path).cloned().unwrap_or_else(|| Reply::new(404, ""))
        })
        .await
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }

    pub fn reference(&self, rest: &str) -> ModelRef {
        ModelRef::parse(&format!("{}/{rest}", self.host)).unwrap()
    }
}

async fn serve(
    mut connection: tokio::net::TcpStream,
    script: Arc<Script>,
    log: Arc<Mutex<Vec<Asked>>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = bytes.split_off(end);
    while body.len() < length {
        if connection.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let asked = Asked { method, path, headers, body };
    let before = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|other| other.line() == asked.line()).count();
        log.push(asked.clone());
        before
    };
    let with_body = asked.method != "HEAD";
    connection.write_all(&script(&asked, before).bytes(with_body)).await.ok()?;
    connection.shutdown().await.ok()
}

/// Sends with the same credentials always, or with none.
pub struct Plain {
    egress: Egress,
    basic: Option<(String, String)>,
}

impl Access for Plain {
    fn send<'a>(
        &'a self,
        _: &'a RegistryHost,
        _: &'a Scope,
        token: Option<&'a SecretString>,
        build: &'a (dyn Fn() -> EgressRequest + Sync),
    ) -> BoxFuture<'a, Result<EgressResponse, FetchError>> {
        async move {
            use base64::Engine as _;
            let mut request = build();
            request.authorization = self.basic.as_ref().map(|(user, password)| {
                let pair = format!("{user}:{password}");
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                HeaderValue::from_str(&format!("Basic {pair}")).unwrap()
            });
            if let Some(token) = token {
                use secrecy::ExposeSecret as _;
                let value = format!("Bearer {}", token.expose_secret());
                request.authorization = Some(HeaderValue::from_str(&value).unwrap());
            }
            Ok(self.egress.send(request).await?)
        }
        .boxed()
    }

    fn oci_auth<'a>(
        &'a self,
        _: &'a RegistryHost,
        _: &'a Scope,
        token: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RegistryAuth, FetchError>> {
        use secrecy::ExposeSecret as _;
        let auth = match (token, self.basic.clone()) {
            (Some(token), _) => RegistryAuth::Bearer(token.expose_secret().to_owned()),
            (None, Some((user, password))) => RegistryAuth::Basic(user, password),
            (None, None) => RegistryAuth::Anonymous,
        };
        async move { Ok(auth) }.boxed()
    }
}

/// No gate at all.
pub struct Straight;

impl Gateway for Straight {
    fn open<'a>(&'a self, _: &'a url::Url) -> BoxFuture<'a, Result<OpenGate, EgressError>> {
        async { Ok(OpenGate { proxy: None, failure: Box::new(|| None) }) }.boxed()
    }
}

/// A client without patience and, unless told otherwise, without credentials.
pub fn client(options: OciOptions, basic: Option<(&str, &str)>) -> OciRegistry {
    let ca_files = options.ca_files.clone();
    let egress = Egress::new(EgressOptions { ca_files, ..EgressOptions::default() }).unwrap();
    let basic = basic.map(|(user, password)| (user.to_owned(), password.to_owned()));
    let access = Arc::new(Plain { egress: egress.clone(), basic });
    let mut client = OciRegistry::new(egress, access, Arc::new(Straight), options);
    client.patience = Patience { pause: std::time::Duration::from_millis(1), ..client.patience };
    client
}

/// A small model as a registry has it.
#[derive(Clone)]
pub struct Model {
    pub weights: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Value,
}

impl Model {
    pub fn new() -> Self {
        let weights: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let config = json!({
            "config": {"format": "gguf", "architecture": "llama", "quantization": "Q4_0"},
            "descriptor": {"created": "2026-01-01T00:00:00Z"},
            "rootfs": {"type": "rootfs", "diff_ids": [Digest::of(&weights).to_string()]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": {
                "mediaType": media::CONFIG_V1,
                "digest": Digest::of(&config).to_string(),
                "size": config.len(),
            },
            "layers": [{
                "mediaType": media::GGUF,
                "digest": Digest::of(&weights).to_string(),
                "size": weights.len(),
            }],
        });
        Self { weights, config, manifest }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.manifest.to_string().into_bytes()
    }

    pub fn id(&self) -> Digest {
        Digest::of(&self.bytes())
    }

    /// What a registry answers that has this model as `m:t`.
    pub fn pages(&self) -> BTreeMap<String, Reply> {
        let manifest = Reply::new(200, self.bytes()).header("content-type", media::MANIFEST);
        let blob = |bytes: &[u8]| (format!("/v2/m/blobs/{}", Digest::of(bytes)), bytes.to_vec());
        [blob(&self.weights), blob(&self.config)]
            .into_iter()
            .map(|(path, bytes)| (path, Reply::new(200, bytes)))
            .chain([
                ("/v2/m/manifests/t".to_owned(), manifest.clone()),
                (format!("/v2/m/manifests/{}", self.id()), manifest),
            ])
            .collect()
    }
}
