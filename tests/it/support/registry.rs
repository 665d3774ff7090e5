//! A real registry (distribution's `docker-registry`), with or without TLS and users.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use modeld::domain::ModelRef;
use modeld::registry::egress::{Egress, EgressOptions, EgressRequest, EgressResponse};
use modeld::registry::oci::{Access, OciOptions, OciRegistry};
use modeld::registry::{FetchError, RegistryHost, Scope};
use oci_client::secrets::RegistryAuth;
use secrecy::SecretString;
use tempfile::TempDir;

use super::{skip, wait_until};

/// The user that a registry with users knows.
pub const USER: (&str, &str) = ("alice", "s3cret");

/// A running registry; ends with the value.
pub struct Registry {
    child: Child,
    dir: TempDir,
    /// `host:port`, as references begin.
    pub host: String,
    has_tls: bool,
}

impl Registry {
    /// One without TLS and users; `None` where this machine has none, which is said.
    pub fn plain(test: &str) -> Option<Self> {
        has(test, "docker-registry")?;
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Some(Self::start("127.0.0.1", address, false))
    }

    /// One with TLS and the one [`USER`]. It is called by this machine's name: loopback itself is
    /// always spoken to without TLS.
    pub fn guarded(test: &str) -> Option<Self> {
        has(test, "docker-registry")?;
        has(test, "htpasswd")?;
        has(test, "openssl")?;
        let name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        let found = (name.as_str(), 0).to_socket_addrs().ok().and_then(|mut all| {
            all.find(|at| at.is_ipv4() && at.ip().is_loopback()).map(|at| at.ip())
        });
        match found {
            Some(address) if name != "localhost" => Some(Self::start(&name, address, true)),
            _ => {
                skip(test, "this machine's name does not lead to its loopback interface");
                None
            }
        }
    }

    #[track_caller]
    fn start(name: &str, address: IpAddr, has_tls: bool) -> Self {
        // The port is free when it is looked for; someone may take it before the registry does.
        for _try in 0..5 {
            let dir = TempDir::new().unwrap();
            if has_tls {
                make_secrets(dir.path(), name);
            }
            let at = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap();
            let config = dir.path().join("config.yml");
            fs::write(&config, configuration(dir.path(), at, has_tls)).unwrap();
            let log = fs::File::create(dir.path().join("log")).unwrap();
            let child = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let host = format!("{name}:{}", at.port());
            let mut registry = Self { child, dir, host, has_tls };
            let mut has_ended = false;
            wait_until(Duration::from_secs(30), "the registry listens", || {
                has_ended = registry.child.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(at).is_ok()
            });
            if !has_ended {
                return registry;
            }
            let log = registry.log();
            assert!(log.contains("address already in use"), "the registry ended:\n{log}");
        }
        panic!("five free ports were taken before the registry could have them");
    }

    /// The client of a user with these credentials.
    pub fn client(&self, basic: Option<(&str, &str)>) -> OciRegistry {
        let ca_files = self.ca().into_iter().collect::<Vec<PathBuf>>();
        let egress = EgressOptions { ca_files: ca_files.clone(), ..EgressOptions::default() };
        let egress = Egress::new(egress).unwrap();
        let basic = basic.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let access = Arc::new(Plain { egress: egress.clone(), basic });
        let options = OciOptions { ca_files, ..OciOptions::default() };
        OciRegistry::new(egress.clone(), access, Arc::new(egress), options)
    }

    pub fn reference(&self, rest: &str) -> ModelRef {
        ModelRef::parse(&format!("{}/{rest}", self.host)).unwrap()
    }

    /// The certificate authority, where there is TLS.
    pub fn ca(&self) -> Option<PathBuf> {
        self.has_tls.then(|| self.dir.path().join("ca.pem"))
    }

    /// Where the registry keeps the bytes of a blob, given by its 64 digits.
    pub fn blob_file(&self, hex: &str) -> PathBuf {
        let blobs = self.dir.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the registry\n{}--- end of the log", self.log());
        }
    }
}

/// Runs skopeo, which shares no code with us; `None` where it is not installed, which is said.
#[track_caller]
pub fn skopeo(test: &str, args: &[&str]) -> Option<Output> {
    has(test, "skopeo")?;
    let output = Command::new("skopeo").args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {args:?}: {error}");
    Some(output)
}

/// Says that a test is skipped where a tool is missing.
fn has(test: &str, tool: &str) -> Option<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    if !found {
        skip(test, &format!("{tool} is not installed"));
    }
    found.then_some(())
}

fn configuration(dir: &Path, at: SocketAddr, has_tls: bool) -> String {
    let dir = dir.display();
    let (tls, auth) = match has_tls {
        true => (
            format!(", tls: {{certificate: {dir}/cert.pem, key: {dir}/key.pem}}"),
            format!("auth: {{htpasswd: {{realm: test, path: {dir}/users}}}}\n"),
        ),
        false => Default::default(),
    };
    format!(
        "version: 0.1\n\
         log: {{level: warn}}\n\
         storage: {{filesystem: {{rootdirectory: {dir}/data}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '{at}', secret: x{tls}}}\n{auth}"
    )
}

/// A certificate authority, a certificate of it for `name`, and a file of users.
fn make_secrets(dir: &Path, name: &str) {
    let run = |command: &mut Command| {
        let output = command.current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let certificate = || {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
        command.args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
        command
    };
    run(certificate().args(["-subj", "/CN=authority", "-keyout", "ca-key.pem", "-out", "ca.pem"]));
    run(certificate()
        .args(["-subj", "/CN=registry", "-CA", "ca.pem", "-CAkey", "ca-key.pem"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-addext", &format!("subjectAltName=DNS:{name}")]));
    let users = run(Command::new("htpasswd").args(["-Bbn", USER.0, USER.1]));
    fs::write(dir.join("users"), users).unwrap();
}

/// Sends the same credentials with everything, or none.
struct Plain {
    egress: Egress,
    basic: Option<(String, String)>,
}

impl Access for Plain {
    fn send<'a>(
        &'a self,
        _: &'a RegistryHost,
        _: &'a Scope,
        _: Option<&'a SecretString>,
        build: &'a (dyn Fn() -> EgressRequest + Sync),
    ) -> BoxFuture<'a, Result<EgressResponse, FetchError>> {
        let mut request = build();
        request.authorization = self.basic.as_ref().map(|(user, password)| {
            let pair = format!("{user}:{password}");
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            HeaderValue::from_str(&format!("Basic {pair}")).unwrap()
        });
        async move { Ok(self.egress.send(request).await?) }.boxed()
    }

    fn oci_auth<'a>(
        &'a self,
        _: &'a RegistryHost,
        _: &'a Scope,
        _: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<RegistryAuth, FetchError>> {
        let auth = match self.basic.clone() {
            Some((user, password)) => RegistryAuth::Basic(user, password),
            None => RegistryAuth::Anonymous,
        };
        async move { Ok(auth) }.boxed()
    }
}
