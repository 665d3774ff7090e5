//! Measuring, pruning, checking and emptying the daemon's store, and reloading its settings.

use serde::{Deserialize, Serialize};

use super::{Client, ClientError, Lines};

/// Where the disk space goes, as `GET /engines/df` says. Bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All of the store.
    pub models_disk_usage: u64,
    /// The engine, where it is a file of its own.
    pub default_backend_disk_usage: u64,
    /// Files that models need; a daemon that does not tell has only the sum.
    pub model_bytes: Option<u64>,
    /// Files that models need and only other programs have.
    pub adopted_bytes: u64,
    /// What no model needs.
    pub orphan_bytes: u64,
    /// How many of those.
    pub orphans: u64,
    /// What is being written, and interrupted downloads.
    pub partial_bytes: u64,
    /// Interrupted downloads.
    pub interrupted: u64,
    /// What they take.
    pub interrupted_bytes: u64,
    /// What may still be written.
    pub free_bytes: Option<u64>,
    /// Each model.
    pub models: Vec<ModelUsage>,
}

/// What one model takes. Bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ModelUsage {
    /// Its id.
    pub id: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What would go with it.
    pub own_bytes: u64,
    /// What others have as well.
    pub shared_bytes: u64,
    /// What only other programs have.
    pub adopted_bytes: u64,
}

/// What to prune.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Prune {
    /// What no model needs.
    pub orphans: bool,
    /// Interrupted downloads of that age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partials_older_than: Option<String>,
    /// Change nothing.
    pub dry_run: bool,
}

/// One line of what upkeep says.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the wire's own words, see the daemon's route")]
pub enum PruneLine {
    Removed { what: String, bytes: u64 },
    Report { removed: u64, bytes: u64 },
}

/// One line of what a check says.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[allow(missing_docs, reason = "the wire's own words, see the daemon's route")]
pub enum FsckLine {
    Progress { digest: String, done: u64, total: u64 },
    Report(FsckReport),
    Error { message: String },
}

/// What a check found.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the wire's own words, see the daemon's route")]
pub struct FsckReport {
    pub clean: bool,
    pub blobs: u64,
    pub bytes: u64,
    pub manifests: u64,
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the wire's own words, see the daemon's route")]
pub struct Problem {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    pub problem: String,
    pub repaired: bool,
    pub models: Vec<Hurt>,
}

/// A model that cannot be run because of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the wire's own words, see the daemon's route")]
pub struct Hurt {
    pub id: String,
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Reloaded {
    /// What holds from now on.
    pub applied: Vec<Setting>,
    /// What holds after a restart.
    pub needs_restart: Vec<Setting>,
}

/// A setting with another value than before.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// What held.
    pub from: String,
    /// What is said now.
    pub to: String,
}

/// A check under way. Dropping it ends the check.
pub struct Fsck {
    lines: Lines<hyper::body::Incoming>,
}

impl Client {
    /// Where the disk space goes.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn usage(&self) -> Result<Usage, ClientError> {
        self.get("/engines/df").await
    }

    /// Removes what nobody needs; answers what went, or would, with its bytes.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn prune(&self, what: &Prune) -> Result<Vec<(String, u64)>, ClientError> {
        let mut lines = self.post_stream("/modeld/prune", what).await?.lines();
        let mut removed = Vec::new();
        while let Some(line) = lines.next().await? {
            match read("prune", &line)? {
                PruneLine::Removed { what, bytes } => removed.push((what, bytes)),
                PruneLine::Report { .. } => return Ok(removed),
            }
        }
        Err(ClientError::Broken("it ended without a result".to_owned()))
    }

    /// Begins a check of every file.
    ///
    /// # Errors
    /// As [`Client::get`]; `Status` 409 while another one runs.
    pub async fn fsck(&self, repair: bool) -> Result<Fsck, ClientError> {
        let body = serde_json::json!({ "repair": repair });
        Ok(Fsck { lines: self.post_stream("/modeld/fsck", &body).await?.lines() })
    }

    /// Removes every model and download.
    ///
    /// # Errors
    /// As [`Client::get`]; `Status` 409 while requests run, without `force`.
    pub async fn purge(&self, force: bool) -> Result<(), ClientError> {
        self.delete_empty(&format!("/models/purge?force={force}")).await
    }

    /// Has the settings files read again.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn reload(&self) -> Result<Reloaded, ClientError> {
        self.post_empty("/modeld/reload").await?.json().await
    }
}

impl Fsck {
    /// The next line. The last one is the report or the error.
    ///
    /// # Errors
    /// `Broken`, also for an end without a report; `Unreadable`.
    pub async fn next(&mut self) -> Result<FsckLine, ClientError> {
        match self.lines.next().await? {
            Some(line) => read("fsck", &line),
            None => Err(ClientError::Broken("it ended without a report".to_owned())),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(verb: &str, line: &'a str) -> Result<T, ClientError> {
    serde_json::from_str(line).map_err(|fault| ClientError::Unreadable {
        what: format!("POST /modeld/{verb}"),
        problem: fault.to_string(),
    })
}
