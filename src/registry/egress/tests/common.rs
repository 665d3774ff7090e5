//! What the tests of the whole client share.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use url::Url;

use super::super::testing::{CA_PEM, FakeLookup};
use super::super::*;

pub(super) fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

/// Short limits: what is tested is that they end something.
pub(super) fn options() -> EgressOptions {
    EgressOptions {
        connect: Duration::from_millis(500),
        first_byte: Duration::from_millis(1),
        stall: Duration::from_millis(200),
        lookup: Arc::new(FakeLookup::default()),
        ..EgressOptions::default()
    }
}

/// The default limits, so that nothing that is slow fails for being slow.
pub(super) fn egress() -> Egress {
    let lookup = Arc::new(FakeLookup::default());
    Egress::new(EgressOptions { lookup, ..EgressOptions::default() }).unwrap()
}

pub(super) async fn get(egress: &Egress, at: Url) -> Result<EgressResponse, EgressError> {
    egress.send(EgressRequest::get(at.clone(), at)).await
}

pub(super) async fn text(answer: EgressResponse) -> String {
    String::from_utf8(answer.read(1 << 20).await.unwrap().to_vec()).unwrap()
}

pub(super) fn error(result: Result<EgressResponse, EgressError>) -> EgressError {
    result.err().expect("it was answered")
}

pub(super) fn post(at: Url, body: reqwest::Body) -> EgressRequest {
    let mut request = EgressRequest::get(at.clone(), at);
    request.method = Method::POST;
    request.body = Some(body);
    request
}

/// A policy that trusts the test servers' authority; the file lives as long as the first value.
pub(super) fn trusting() -> (tempfile::NamedTempFile, EgressOptions) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), CA_PEM).unwrap();
    let lookup = Arc::new(FakeLookup::default());
    let ca_files = vec![file.path().to_owned()];
    let options = EgressOptions { ca_files, lookup, ..EgressOptions::default() };
    (file, options)
}
