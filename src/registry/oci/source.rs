use oci_client::Reference;
use secrecy::SecretString;
use url::Url;

use crate::domain::{Digest, Error, Result};
use crate::registry::egress::EgressRequest;

use crate::registry::{RegistryHost, Scope};

/// One place that has a repository: its registry or a mirror of it.
#[derive(Clone)]
pub(super) struct Source {
    pub host: RegistryHost,
    /// The repository's root: `…/v2/ai/smollm2/`.
    base: Url,
    pub scope: Scope,
    /// What the client sent along; for the registry itself, never for a mirror.
    pub token: Option<SecretString>,
    pub is_mirror: bool,
}

impl Source {
    pub fn new(
        host: RegistryHost,
        reference: &Reference,
        push: bool,
        token: Option<&SecretString>,
        is_mirror: bool,
    ) -> Result<Self> {
        let repository = reference.repository();
        let root = host.endpoint.as_str().trim_end_matches('/');
        let root = root.strip_suffix("/v2").unwrap_or(root);
        let base = Url::parse(&format!("{root}/v2/{repository}/")).map_err(Error::internal)?;
        Ok(Self {
            host,
            base,
            scope: Scope { repository: repository.to_owned(), push },
            token: token.cloned(),
            is_mirror,
        })
    }

    /// The manifest that a tag or a digest names. Both have grammars without `/`, `?` and `#`.
    pub fn manifest_url(&self, tag_or_digest: &str) -> Result<Url> {
        self.below(&format!("manifests/{tag_or_digest}"))
    }

    pub fn blob_url(&self, digest: &Digest) -> Result<Url> {
        self.below(&format!("blobs/{digest}"))
    }

    /// The manifests of this artifact type whose subject is the one with this digest.
    pub fn referrers_url(&self, digest: &Digest, artifact_type: &str) -> Result<Url> {
        let mut url = self.below(&format!("referrers/{digest}"))?;
        url.query_pairs_mut().append_pair("artifactType", artifact_type);
        Ok(url)
    }

    pub fn tags_url(&self) -> Result<Url> {
        self.below("tags/list?n=200")
    }

    pub fn get(&self, url: Url) -> EgressRequest {
        EgressRequest::get(url, self.host.endpoint.clone())
    }

    /// `registry.example.com/ai/smollm2`, for messages.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host.name, self.scope.repository)
    }

    fn below(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_is_there_once_and_prefixes_stay() {
        let reference: Reference = "docker.io/ai/smollm2:latest".parse().unwrap();
        for (endpoint, expected) in [
            ("https://r.example/", "https://r.example/v2/ai/smollm2/manifests/latest"),
            ("https://r.example/v2", "https://r.example/v2/ai/smollm2/manifests/latest"),
            ("https://r.example/v2/", "https://r.example/v2/ai/smollm2/manifests/latest"),
            ("https://r.example/hub/", "https://r.example/hub/v2/ai/smollm2/manifests/latest"),
            ("https://r.example/v2/hub", "https://r.example/v2/hub/v2/ai/smollm2/manifests/latest"),
        ] {
            let host = RegistryHost { name: "r".to_owned(), endpoint: endpoint.parse().unwrap() };
            let source = Source::new(host, &reference, false, None, false).unwrap();
            assert_eq!(source.manifest_url("latest").unwrap().as_str(), expected);
        }
    }

    #[test]
    fn a_digest_is_a_path_not_a_scheme() {
        let reference: Reference = "r.example/m:x".parse().unwrap();
        let endpoint = "https://r.example/".parse().unwrap();
        let host = RegistryHost { name: "r.example".to_owned(), endpoint };
        let source = Source::new(host, &reference, false, None, false).unwrap();
        let digest = Digest::of(b"x");
        let url = source.blob_url(&digest).unwrap();
        assert_eq!(url.as_str(), format!("https://r.example/v2/m/blobs/{digest}"));
    }
}
