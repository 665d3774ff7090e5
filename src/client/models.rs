use bytes::Bytes;
use futures_core::Stream;
use http::Method;

use super::wire::{
    Chat, Create, Found, Import, ImportLine, LoggedIn, LoggedOut, Login, Model, Progress, Removed,
    Repackage, Repackaged, Running, Transfer, Unload, Unloaded, Version,
};
use super::{Client, ClientError, Response};

/// The calls that commands make.
impl Client {
    /// All models, newest first.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn models(&self) -> Result<Vec<Model>, ClientError> {
        self.get("/models").await
    }

    /// One model as the daemon describes it, unread.
    ///
    /// # Errors
    /// As [`Client::get`]; `Status` 404 when there is none.
    pub async fn inspect(
        &self,
        model: &str,
        openai: bool,
    ) -> Result<serde_json::Value, ClientError> {
        let base = if openai { "/engines/v1/models" } else { "/models" };
        self.get(&format!("{base}/{}", encoded(model))).await
    }

    /// Gives a model another tag.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn tag(&self, model: &str, repo: &str, tag: &str) -> Result<(), ClientError> {
        let (repo, tag) = (encoded(repo), encoded(tag));
        let path = format!("/models/{}/tag?repo={repo}&tag={tag}", encoded(model));
        self.post_empty(&path).await?.bytes().await.map(drop)
    }

    /// Removes a tag or a model.
    ///
    /// # Errors
    /// As [`Client::get`]; `Status` 409 names what stands in the way.
    pub async fn remove(&self, model: &str, force: bool) -> Result<Vec<Removed>, ClientError> {
        self.delete(&format!("/models/{}?force={force}", encoded(model))).await
    }

    /// A model as an archive, as it comes.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn export(&self, model: &str) -> Result<Response, ClientError> {
        let request = self
            .request(Method::GET, &format!("/models/{}/export", encoded(model)))?
            .body(super::http::full(Vec::new()))
            .map_err(|e| ClientError::Invalid(e.to_string()))?;
        self.send_request(request).await
    }

    /// Makes another model of one.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn repackage(
        &self,
        model: &str,
        changes: &Repackage,
    ) -> Result<Repackaged, ClientError> {
        self.post(&format!("/models/{}/repackage", encoded(model)), changes).await
    }

    /// Hands in a model archive; returns what the daemon said at the end.
    ///
    /// # Errors
    /// As [`Client::upload`]; `Status` when the archive was refused.
    pub async fn load<S>(&self, length: Option<u64>, tar: S) -> Result<Progress, ClientError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let path = "/models/load";
        let mut lines = self.upload(path, "application/x-tar", length, tar).await?.lines();
        let mut last = None;
        while let Some(line) = lines.next().await? {
            if line.trim().is_empty() {
                continue;
            }
            let progress: Progress = serde_json::from_str(&line).map_err(|e| {
                ClientError::Unreadable { what: format!("POST {path}"), problem: e.to_string() }
            })?;
            if progress.kind == "error" {
                let message = progress.message;
                return Err(ClientError::Status { status: 500, message, retry_after: None });
            }
            last = Some(progress);
        }
        last.ok_or_else(|| ClientError::Broken("it ended without a word".to_owned()))
    }

    /// Has the daemon take in what other programs have.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn import(&self, what: &Import) -> Result<Imports, ClientError> {
        let lines = self.post_stream("/modeld/import", what).await?.lines();
        Ok(Imports { lines })
    }

    /// Pulls a model; its progress comes as lines of [`Progress`], a detached one answers 202.
    ///
    /// # Errors
    /// As [`Client::get`]; `Status` when the registry or the daemon refuses.
    pub async fn create(&self, create: &Create<'_>) -> Result<Response, ClientError> {
        self.post_stream("/models/create", create).await
    }

    /// Uploads a model; its progress comes as lines of [`Progress`].
    ///
    /// # Errors
    /// As [`Client::create`].
    pub async fn push(&self, model: &str, token: Option<&str>) -> Result<Response, ClientError> {
        let path = format!("/models/{}/push", encoded(model));
        match token {
            Some(token) => {
                self.post_stream(&path, &serde_json::json!({ "bearer-token": token })).await
            }
            None => self.post_empty(&path).await,
        }
    }

    /// The transfers that run or wait.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn transfers(&self) -> Result<Vec<Transfer>, ClientError> {
        self.get("/modeld/transfers").await
    }

    /// Stops the transfers of a model.
    ///
    /// # Errors
    /// As [`Client::get`]; `Status` 404 when there is none.
    pub async fn cancel_transfer(&self, model: &str) -> Result<Vec<Transfer>, ClientError> {
        self.delete(&format!("/modeld/transfers?reference={}", encoded(model))).await
    }

    /// Has the daemon check a credential and keep it.
    ///
    /// # Errors
    /// As [`Client::get`]; `Status` 401 when the registry refuses it.
    pub async fn log_in(&self, login: &Login<'_>) -> Result<LoggedIn, ClientError> {
        self.post("/modeld/login", login).await
    }

    /// Has the daemon forget a credential.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn log_out(&self, registry: &str) -> Result<LoggedOut, ClientError> {
        self.delete(&format!("/modeld/login?registry={}", encoded(registry))).await
    }

    /// The logins that the daemon keeps.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn logins(&self) -> Result<Vec<LoggedIn>, ClientError> {
        self.get("/modeld/login").await
    }

    /// Looks for models where they are published.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn search(&self, query: &str, limit: u32) -> Result<Found, ClientError> {
        self.get(&format!("/modeld/search?query={}&limit={limit}", encoded(query))).await
    }

    /// Loaded models.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn running(&self) -> Result<Vec<Running>, ClientError> {
        self.get("/engines/ps").await
    }

    /// Unloads idle models.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn unload(&self, what: &Unload) -> Result<Unloaded, ClientError> {
        self.post("/engines/unload", what).await
    }

    /// The daemon's version.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get("/version").await
    }

    /// Starts a chat; its answer streams.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn chat(&self, chat: &Chat<'_>) -> Result<Response, ClientError> {
        self.post_stream("/engines/v1/chat/completions", chat).await
    }

    /// Loads a model without asking it anything.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn preload(&self, model: &str) -> Result<(), ClientError> {
        let body = serde_json::json!({ "model": model, "messages": [] }).to_string();
        let request = self
            .request(Method::POST, "/engines/v1/chat/completions")?
            .header(http::header::CONTENT_TYPE, "application/json")
            .header("X-Preload-Only", "true")
            .body(super::http::full(body.into_bytes()))
            .map_err(|e| ClientError::Invalid(e.to_string()))?;
        self.send_request(request).await?.bytes().await.map(drop)
    }
}

/// What an import says, line by line.
pub struct Imports {
    lines: super::Lines<hyper::body::Incoming>,
}

impl Imports {
    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// `Broken`, `Unreadable`.
    pub async fn next(&mut self) -> Result<Option<ImportLine>, ClientError> {
        let Some(line) = self.lines.next().await? else { return Ok(None) };
        serde_json::from_str(&line).map(Some).map_err(|e| ClientError::Unreadable {
            what: "POST /modeld/import".to_owned(),
            problem: e.to_string(),
        })
    }
}

/// A part of a path or query in which slashes and colons stay: model names keep their shape, and
/// nothing else gets through.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'.'
            | b'~'
            | b'/'
            | b':'
            | b'@' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn model_names_keep_their_shape_and_nothing_else_gets_through() {
        for (text, path) in [
            ("docker.io/ai/smollm2:latest", "docker.io/ai/smollm2:latest"),
            ("a@sha256:00", "a@sha256:00"),
            ("a b?c#d&e\n%", "a%20b%3Fc%23d%26e%0A%25"),
            ("ü", "%C3%BC"),
        ] {
            assert_eq!(encoded(text), path);
        }
    }
}
