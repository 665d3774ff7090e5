//! Authorisation and login against servers on loopback ports.

use oci_client::secrets::RegistryAuth;
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::testing::{Reply, Seen, Server, demand, reply};
use super::{Authorizer, Credential, CredentialOptions, Credentials, Login};
use crate::domain::ErrorKind;
use crate::registry::egress::{Egress, EgressOptions, EgressRequest};
use crate::registry::{FetchError, RegistryHost, Scope};

/// No error may ever show this.
const CANARY: &str = "canary-c4f1";

struct Setup {
    dir: tempfile::TempDir,
    authorizer: Authorizer,
    egress: Egress,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    // The servers of one test may refer to each other.
    let insecure = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let egress = Egress::new(EgressOptions { insecure, ..EgressOptions::default() }).unwrap();
    let credentials = Credentials::new(CredentialOptions {
        login_dir: dir.path().join("login"),
        docker_config_dir: Some(dir.path().to_owned()),
        ..CredentialOptions::default()
    });
    Setup { dir, authorizer: Authorizer::new(egress.clone(), credentials), egress }
}

impl Setup {
    fn host(&self, server: &Server) -> RegistryHost {
        RegistryHost::parse(&server.address.to_string(), &self.egress).unwrap()
    }

    /// Docker's configuration has this entry for the server.
    fn docker_knows(&self, server: &Server, entry: serde_json::Value) {
        let config = serde_json::json!({"auths": {server.address.to_string(): entry}});
        std::fs::write(self.dir.path().join("config.json"), config.to_string()).unwrap();
    }

    fn docker_knows_password(&self, server: &Server) {
        self.docker_knows(server, serde_json::json!({"username": "u", "password": CANARY}));
    }

    async fn send(
        &self,
        server: &Server,
        scope: &Scope,
        token: Option<&SecretString>,
    ) -> Result<u16, FetchError> {
        let host = self.host(server);
        let url = host.endpoint.join("v2/ai/m/manifests/latest").unwrap();
        let build = || EgressRequest::get(url.clone(), host.endpoint.clone());
        let sent = self.authorizer.send(&host, scope, token, &build).await;
        if let Err(error) = &sent {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(CANARY), "{shown}");
        }
        sent.map(|response| response.status.as_u16())
    }

    async fn pull(&self, server: &Server) -> Result<u16, FetchError> {
        self.send(server, &Scope::pull("ai/m"), None).await
    }
}

fn basic(pair: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn targets(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.target.as_str()).collect()
}

/// Takes requests with `Bearer t`, demands others to get that from `/token`, where `issue` answers.
fn token_registry(
    issue: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> impl Fn(&str, &Seen) -> Reply + Send + Sync + 'static {
    move |url, seen| {
        if seen.target.starts_with("/token") {
            issue(seen)
        } else if seen.authorization.as_deref() == Some("Bearer t") {
            reply(200, "{}")
        } else {
            demand(&[&format!("Bearer realm=\"{url}/token\",service=\"s v\"")])
        }
    }
}

#[tokio::test]
async fn an_open_registry_sees_no_credentials() {
    let server = Server::start(|_, _| reply(200, "")).await;
    let setup = setup();
    setup.docker_knows_password(&server);
    assert_eq!(setup.pull(&server).await, Ok(200));
    assert_eq!(server.seen().len(), 1);
    assert_eq!(server.seen()[0].authorization, None);
}

#[tokio::test]
async fn basic_is_sent_when_asked_and_at_once_from_then_on() {
    let server = Server::start(|_, seen| match &seen.authorization {
        Some(_) => reply(200, ""),
        None => demand(&["Basic realm=\"x\""]),
    })
    .await;
    let setup = setup();
    setup.docker_knows_password(&server);
    assert_eq!(setup.pull(&server).await, Ok(200));
    assert_eq!(setup.pull(&server).await, Ok(200));
    let sent: Vec<_> = server.seen().into_iter().map(|seen| seen.authorization).collect();
    let proof = Some(basic(&format!("u:{CANARY}")));
    assert_eq!(sent, [None, proof.clone(), proof]);
}

#[tokio::test]
async fn nothing_to_prove_with_is_said_without_a_second_try() {
    let server = Server::start(|_, _| demand(&["Basic realm=\"x\""])).await;
    let setup = setup();
    let error = setup.pull(&server).await.unwrap_err();
    assert_eq!(error.error.kind, ErrorKind::RegistryUnauthorized);
    let address = server.address;
    assert!(error.error.message.contains(&format!("modeld login {address}")), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_password_is_exchanged_for_a_token_that_is_kept() {
    let server = Server::start(token_registry(|_| reply(200, r#"{"token":"t"}"#))).await;
    let setup = setup();
    setup.docker_knows_password(&server);
    assert_eq!(setup.pull(&server).await, Ok(200));
    assert_eq!(setup.pull(&server).await, Ok(200));
    let push = Scope::push("ai/m");
    assert_eq!(setup.send(&server, &push, None).await, Ok(200));
    let seen = server.seen();
    let manifest = "/v2/ai/m/manifests/latest";
    let token = "/token?service=s+v&scope=repository%3Aai%2Fm%3Apull";
    assert_eq!(
        targets(&seen),
        [manifest, token, manifest, manifest, &format!("{token}%2Cpush"), manifest]
    );
    assert_eq!(seen[1].authorization, Some(basic(&format!("u:{CANARY}"))));
}

#[tokio::test]
async fn anonymous_users_get_tokens_too() {
    let server =
        Server::start(token_registry(|_| reply(200, r#"{"access_token":"t","expires_in":-1}"#)))
            .await;
    let setup = setup();
    assert_eq!(setup.pull(&server).await, Ok(200));
    assert_eq!(server.seen()[1].authorization, None);
}

#[tokio::test]
async fn the_token_of_the_request_is_exchanged_as_a_refresh_token() {
    let server = Server::start(token_registry(|_| reply(200, r#"{"access_token":"t"}"#))).await;
    let token = SecretString::from(CANARY);
    let scope = Scope::pull("ai/m");
    assert_eq!(setup().send(&server, &scope, Some(&token)).await, Ok(200));
    let exchange = &server.seen()[1];
    assert_eq!((exchange.method.as_str(), exchange.target.as_str()), ("POST", "/token"));
    assert_eq!(exchange.authorization, None);
    assert_eq!(
        exchange.body,
        format!(
            "grant_type=refresh_token&client_id=modeld&service=s+v&\
             scope=repository%3Aai%2Fm%3Apull&refresh_token={CANARY}"
        )
    );
}

#[tokio::test]
async fn an_issuer_without_oauth_gets_it_as_a_password() {
    let server = Server::start(token_registry(|seen| {
        if seen.method == "POST" { reply(405, "") } else { reply(200, r#"{"token":"t"}"#) }
    }))
    .await;
    let token = SecretString::from(CANARY);
    assert_eq!(setup().send(&server, &Scope::pull("ai/m"), Some(&token)).await, Ok(200));
    let seen = server.seen();
    assert_eq!(seen[2].method, "GET");
    assert_eq!(seen[2].authorization, Some(basic(&format!("<token>:{CANARY}"))));
}

#[tokio::test]
async fn a_registry_token_is_carried_as_it_is() {
    let server = Server::start(token_registry(|_| reply(500, ""))).await;
    let setup = setup();
    setup.docker_knows(&server, serde_json::json!({"registrytoken": "t"}));
    assert_eq!(setup.pull(&server).await, Ok(200));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn of_two_challenges_the_token_wins() {
    let server =
        Server::start(|url, seen| match (seen.target.as_str(), seen.authorization.as_deref()) {
            (_, Some("Bearer t")) => reply(200, ""),
            (target, _) if target.starts_with("/token") => reply(200, r#"{"token":"t"}"#),
            _ => demand(&["Basic realm=\"x\"", &format!("Bearer realm=\"{url}/token\"")]),
        })
        .await;
    let setup = setup();
    setup.docker_knows_password(&server);
    assert_eq!(setup.pull(&server).await, Ok(200));
    assert_eq!(server.seen()[2].authorization.as_deref(), Some("Bearer t"));
}

/// A registry at 127.0.0.1 whose realm is `localhost`: another host.
async fn registry_with_foreign_issuer(issuer: &Server) -> Server {
    let realm = format!("http://localhost:{}/token", issuer.address.port());
    Server::start(move |_, seen| match seen.authorization.as_deref() {
        Some("Bearer t") => reply(200, ""),
        _ => demand(&[&format!("Bearer realm=\"{realm}\"")]),
    })
    .await
}

#[tokio::test]
async fn an_issuer_on_another_host_sees_no_credentials() {
    let issuer = Server::start(|_, _| reply(200, r#"{"token":"t"}"#)).await;
    let server = registry_with_foreign_issuer(&issuer).await;
    let setup = setup();
    setup.docker_knows_password(&server);
    assert_eq!(setup.pull(&server).await, Ok(200));
    let token = SecretString::from(CANARY);
    assert_eq!(setup.send(&server, &Scope::pull("ai/n"), Some(&token)).await, Ok(200));
    let seen = issuer.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!((request.method.as_str(), &request.authorization), ("GET", &None));
        assert!(!request.target.contains(CANARY) && request.body.is_empty());
    }
}

#[tokio::test]
async fn what_was_not_sent_there_is_said_when_that_was_not_enough() {
    let issuer = Server::start(|_, _| reply(401, CANARY)).await;
    let server = registry_with_foreign_issuer(&issuer).await;
    let setup = setup();
    setup.docker_knows_password(&server);
    let error = setup.pull(&server).await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::RegistryUnauthorized);
    assert!(error.message.contains("were not sent"), "{error}");
    assert!(error.message.contains("issued by localhost"), "{error}");
}

#[tokio::test]
async fn realms_that_break_the_rules_are_not_asked() {
    for realm in [
        "https://0.0.0.0/",
        "https://[::]/",
        "https://[::ffff:10.0.0.1]/",
        "https://2852039166/",
        "http://registry.example/token",
        "file:///etc/passwd",
        "https://u:p@registry.example/",
    ] {
        let server =
            Server::start(move |_, _| demand(&[&format!("Bearer realm=\"{realm}\"")])).await;
        let setup = setup();
        setup.docker_knows_password(&server);
        let error = setup.pull(&server).await.unwrap_err().error;
        assert_eq!(error.kind, ErrorKind::RegistryInvalid, "{realm}: {error}");
        assert!(error.message.contains(realm), "{error}");
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn challenges_that_cannot_be_met() {
    for (challenge, kind) in [
        ("Bearer", ErrorKind::RegistryInvalid),
        ("Bearer realm=\"a", ErrorKind::RegistryInvalid),
        ("=,=", ErrorKind::RegistryInvalid),
        ("Digest realm=\"x\"", ErrorKind::RegistryUnauthorized),
    ] {
        let server = Server::start(move |_, _| demand(&[challenge])).await;
        assert_eq!(setup().pull(&server).await.unwrap_err().error.kind, kind, "{challenge}");
    }
    let server = Server::start(|_, _| reply(401, "")).await;
    let error = setup().pull(&server).await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::RegistryUnauthorized);
}

#[tokio::test]
async fn answers_of_issuers_that_are_no_token() {
    let huge = format!(r#"{{"token":"{CANARY}{}"}}"#, "a".repeat(1024 * 1024));
    let long = format!(r#"{{"token":"{CANARY}{}"}}"#, "a".repeat(64 * 1024));
    for (status, body, kind) in [
        (200, huge.as_str(), ErrorKind::RegistryInvalid),
        (200, &long, ErrorKind::RegistryInvalid),
        (200, "null", ErrorKind::RegistryInvalid),
        (200, "<html>", ErrorKind::RegistryInvalid),
        (204, "", ErrorKind::RegistryInvalid),
        (418, "", ErrorKind::RegistryInvalid),
        (503, "", ErrorKind::RegistryUnavailable),
        (401, CANARY, ErrorKind::RegistryUnauthorized),
        (403, CANARY, ErrorKind::RegistryUnauthorized),
    ] {
        let body = body.to_owned();
        let server = Server::start(token_registry(move |_| reply(status, body.clone()))).await;
        let error = setup().pull(&server).await.unwrap_err().error;
        assert_eq!(error.kind, kind, "{status}: {error}");
    }
}

#[tokio::test]
async fn an_endless_401_ends() {
    let server = Server::start(|url, seen| {
        if seen.target.starts_with("/token") {
            reply(200, r#"{"token":"no-good"}"#)
        } else {
            demand(&[&format!("Bearer realm=\"{url}/token\"")])
        }
    })
    .await;
    let setup = setup();
    setup.docker_knows_password(&server);
    for requests in [3, 7] {
        let error = setup.pull(&server).await.unwrap_err().error;
        assert_eq!(error.kind, ErrorKind::RegistryUnauthorized);
        assert!(error.message.contains("modeld login"), "{error}");
        assert!(error.message.contains("config.json"), "{error}");
        assert_eq!(server.seen().len(), requests);
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    // Each token is good for one request.
    let issued = AtomicUsize::new(0);
    let used = AtomicUsize::new(0);
    let server = Server::start(move |url, seen| {
        if seen.target.starts_with("/token") {
            let n = issued.fetch_add(1, Ordering::SeqCst);
            return reply(200, format!(r#"{{"token":"t{n}","expires_in":300}}"#));
        }
        let expected = format!("Bearer t{}", used.load(Ordering::SeqCst));
        if seen.authorization.as_deref() == Some(expected.as_str()) {
            used.fetch_add(1, Ordering::SeqCst);
            return reply(200, "");
        }
        demand(&[&format!("Bearer realm=\"{url}/token\"")])
    })
    .await;
    let setup = setup();
    assert_eq!(setup.pull(&server).await, Ok(200));
    assert_eq!(setup.pull(&server).await, Ok(200));
    let sent: Vec<_> = server.seen().into_iter().map(|seen| seen.authorization).collect();
    let bearer = |n: u32| Some(format!("Bearer t{n}"));
    assert_eq!(sent, [None, None, bearer(0), bearer(0), None, bearer(1)]);
}

#[tokio::test]
async fn a_login_that_came_since_the_last_refusal_counts_at_once() {
    let server = Server::start(token_registry(|seen| match &seen.authorization {
        Some(_) => reply(200, r#"{"token":"t"}"#),
        None => reply(200, r#"{"token":"anonymous"}"#),
    }))
    .await;
    let setup = setup();
    let error = setup.pull(&server).await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::RegistryUnauthorized);
    setup.docker_knows_password(&server);
    assert_eq!(setup.pull(&server).await, Ok(200));
}

#[tokio::test]
async fn whom_a_registry_redirects_to_gets_no_credentials() {
    let other = Server::start(|_, _| demand(&["Basic realm=\"x\""])).await;
    let target = format!("http://{}/x", other.address);
    let server = Server::start(move |_, _| Reply {
        headers: vec![("location", target.clone())],
        ..reply(307, "")
    })
    .await;
    let setup = setup();
    setup.docker_knows_password(&server);
    let error = setup.pull(&server).await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::RegistryInvalid, "{error}");
    assert!(other.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn other_statuses_are_answers() {
    let server = Server::start(|_, _| reply(403, "")).await;
    assert_eq!(setup().pull(&server).await, Ok(403));
}

#[tokio::test]
async fn what_a_push_is_given() {
    let scope = Scope::push("ai/m");
    let setup = setup();
    let open = Server::start(|_, _| reply(200, "")).await;
    let auth = setup.authorizer.oci_auth(&setup.host(&open), &scope, None).await;
    assert!(matches!(auth, Ok(RegistryAuth::Anonymous)));

    let server = Server::start(token_registry(|_| reply(200, r#"{"token":"t"}"#))).await;
    let host = setup.host(&server);
    for _ in 0..2 {
        let auth = setup.authorizer.oci_auth(&host, &scope, None).await.unwrap();
        assert!(auth == RegistryAuth::Bearer("t".to_owned()));
    }
    let token = "/token?service=s+v&scope=repository%3Aai%2Fm%3Apull%2Cpush";
    assert_eq!(targets(&server.seen()), ["/v2/", token]);
    setup.authorizer.forget(&host);
    setup.authorizer.oci_auth(&host, &scope, None).await.unwrap();
    assert_eq!(server.seen().len(), 4);

    let server = Server::start(|_, _| demand(&["Basic"])).await;
    let host = setup.host(&server);
    let error = setup.authorizer.oci_auth(&host, &scope, None).await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::RegistryUnauthorized);
    setup.docker_knows_password(&server);
    setup.authorizer.forget(&host);
    let auth = setup.authorizer.oci_auth(&host, &scope, None).await.unwrap();
    assert!(auth == RegistryAuth::Basic("u".to_owned(), CANARY.to_owned()));

    let broken = Server::start(|_, _| reply(503, "")).await;
    let error = setup.authorizer.oci_auth(&setup.host(&broken), &scope, None).await.unwrap_err();
    assert_eq!(error.error.kind, ErrorKind::RegistryUnavailable);
}

#[tokio::test]
async fn a_login_is_verified_kept_used_and_forgotten() {
    let good = basic(&format!("u:{CANARY}"));
    let server = Server::start(token_registry(move |seen| {
        if seen.authorization.as_ref() == Some(&good) {
            reply(200, r#"{"token":"t"}"#)
        } else {
            reply(401, "")
        }
    }))
    .await;
    let setup = setup();
    let host = setup.host(&server);
    let login = Login::new(setup.authorizer.clone());
    let wrong = Credential::new("u", SecretString::from("wrong"));
    let error = login.login(&host, wrong).await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::RegistryUnauthorized);
    assert_eq!(login.logins().await, Ok(vec![]));
    assert!(setup.pull(&server).await.is_err());

    let right = Credential::new("u", SecretString::from(CANARY));
    let report = login.login(&host, right).await.unwrap();
    assert!(report.verified);
    assert_eq!(report.username.as_deref(), Some("u"));
    assert_eq!(setup.pull(&server).await, Ok(200));
    let logins = login.logins().await.unwrap();
    assert_eq!(logins[0].host, server.address.to_string());
    let shown = format!("{logins:?} {report:?}");
    assert!(!shown.contains(CANARY), "{shown}");

    assert_eq!(login.logout(&host).await, Ok(true));
    assert_eq!(login.logout(&host).await, Ok(false));
    assert!(setup.pull(&server).await.is_err());
}

#[tokio::test]
async fn a_login_whose_credential_must_not_be_sent_fails() {
    let issuer = Server::start(|_, _| reply(200, r#"{"token":"t"}"#)).await;
    let server = registry_with_foreign_issuer(&issuer).await;
    let setup = setup();
    let login = Login::new(setup.authorizer.clone());
    let credential = Credential::new("u", SecretString::from(CANARY));
    let error = login.login(&setup.host(&server), credential).await.unwrap_err().error;
    assert_eq!(error.kind, ErrorKind::RegistryUnauthorized);
    assert!(error.message.contains("nothing was stored"), "{error}");
    assert_eq!(login.logins().await, Ok(vec![]));
}

#[tokio::test]
async fn a_registry_that_asks_nobody_verifies_nothing() {
    let server = Server::start(|_, _| reply(200, "")).await;
    let setup = setup();
    let login = Login::new(setup.authorizer.clone());
    let credential = Credential::new("u", SecretString::from(CANARY));
    let report = login.login(&setup.host(&server), credential).await.unwrap();
    assert!(!report.verified);
    assert_eq!(login.logins().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_login_to_the_hugging_face_hub_keeps_its_token() {
    let server =
        Server::start(|_, seen| match (seen.target.as_str(), seen.authorization.as_deref()) {
            ("/api/whoami-v2", Some("Bearer canary-c4f1")) => reply(200, r#"{"name":"someone"}"#),
            ("/api/whoami-v2", _) => reply(401, ""),
            _ => reply(404, ""),
        })
        .await;
    let setup = setup();
    let endpoint = setup.host(&server).endpoint;
    let host = RegistryHost { name: "huggingface.co".to_owned(), endpoint };
    let login = Login::new(setup.authorizer.clone());
    for bad in ["wrong", "", "a\nb"] {
        let credential = Credential::new("", SecretString::from(bad));
        let error = login.login(&host, credential).await.unwrap_err().error;
        assert_eq!(error.kind, ErrorKind::RegistryUnauthorized, "{bad}");
    }
    let credential = Credential::new("ignored", SecretString::from(CANARY));
    let report = login.login(&host, credential).await.unwrap();
    assert_eq!((report.username.as_deref(), report.verified), (Some("someone"), true));
    assert_eq!(login.logins().await.unwrap()[0].username.as_deref(), Some("someone"));
    let token = setup.authorizer.credentials().hub_token(None).await.unwrap();
    assert_eq!(token.expose_secret(), CANARY);
    assert_eq!(login.logout(&host).await, Ok(true));
    assert!(setup.authorizer.credentials().hub_token(None).await.is_none());
}
