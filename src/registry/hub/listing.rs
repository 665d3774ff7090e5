use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use http::{HeaderMap, header};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};
use url::Url;

use crate::domain::{Digest, Error, ErrorKind, Result};
use crate::registry::check_path;

use super::client::{Access, Hub};

/// The largest answer of the API that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// The most pages of one listing, and the most entries of one page; the Hub sends 1,000 a page.
const MAX_PAGES: usize = 100;
const MAX_PAGE_ENTRIES: usize = 10_000;
/// The most files of one repository that could belong to a model.
const MAX_FILES: usize = 20_000;

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    /// `Org/Repo` as the Hub writes it.
    pub(super) id: String,
    /// The commit that its head was at.
    pub(super) commit: String,
    /// When that was last changed.
    pub(super) modified: jiff::Timestamp,
}

/// A file that could belong to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HubFile {
    /// Its path, checked.
    pub(super) path: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// The digest of its bytes; files that are not kept as large ones have none.
    pub(super) sha256: Option<Digest>,
}

/// What a repository holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// What could belong to a model, in the order of the paths.
    pub(super) candidates: Vec<HubFile>,
    /// Names of the formats that the other files are in.
    pub(super) formats: BTreeSet<&'static str>,
}

impl HubFile {
    /// The name without directories.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The directory; empty at the top.
    pub(super) fn directory(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(directory, _)| directory)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRepository {
    id: String,
    sha: String,
    last_modified: Option<String>,
}

#[derive(Deserialize)]
struct WireEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: Option<serde_json::Number>,
    lfs: Option<WireLarge>,
}

#[derive(Deserialize)]
struct WireLarge {
    oid: String,
    size: serde_json::Number,
}

/// One page of a listing; refused beyond its limit before more is held.
struct WirePage(Vec<WireEntry>);

impl<'de> Deserialize<'de> for WirePage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Page;
        impl<'de> Visitor<'de> for Page {
            type Value = WirePage;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MAX_PAGE_ENTRIES} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut entries: A,
            ) -> std::result::Result<WirePage, A::Error> {
                let mut page = Vec::new();
                while let Some(entry) = entries.next_element()? {
                    if page.len() == MAX_PAGE_ENTRIES {
                        return Err(de::Error::invalid_length(page.len() + 1, &self));
                    }
                    page.push(entry);
                }
                Ok(WirePage(page))
            }
        }
        deserializer.deserialize_seq(Page)
    }
}

/// Where the head of `repo`, written in any case, is.
///
/// # Errors
/// `RegistryNotFound`, `RegistryUnauthorized`, `RegistryUnavailable`, `RegistryInvalid`.
pub(super) async fn repository(hub: &Hub, access: &Access, repo: &str) -> Result<Repository> {
    let url = hub.url(&["api", "models", repo])?;
    let response = hub.get(url, access, None, "the repository").await?;
    let bytes = response.read(MAX_ANSWER_BYTES).await?;
    let wire: WireRepository =
        serde_json::from_slice(&bytes).map_err(|e| invalid(access, &e.to_string()))?;
    let parts: Vec<&str> = wire.id.split('/').collect();
    let is_name = |part: &&str| {
        !matches!(*part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    if parts.len() > 2 || wire.id.len() > 256 || !parts.iter().all(is_name) {
        let id: String = wire.id.chars().take(80).collect();
        return Err(invalid(access, &format!("it calls the repository {id:?}")));
    }
    let is_commit = matches!(wire.sha.len(), 40 | 64)
        && wire.sha.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !is_commit {
        let sha: String = wire.sha.chars().take(80).collect();
        return Err(invalid(access, &format!("{sha:?} is no commit")));
    }
    let modified = match wire.last_modified {
        Some(text) => text.parse().map_err(|_| {
            let text: String = text.chars().take(80).collect();
            invalid(access, &format!("it was last modified at {text:?}"))
        })?,
        None => jiff::Timestamp::UNIX_EPOCH,
    };
    Ok(Repository { id: wire.id, commit: wire.sha, modified })
}

/// All files of the repository at its commit.
///
/// # Errors
/// As [`repository`]; `RegistryInvalid` for a listing that breaks a limit, or lists a file that
/// could be used under a path, with a size or with a digest that no file has.
pub(super) async fn files(hub: &Hub, access: &Access, repository: &Repository) -> Result<Files> {
    let mut url = hub.url(&["api", "models", &repository.id, "tree", &repository.commit])?;
    url.set_query(Some("recursive=true"));
    let mut found: BTreeMap<String, HubFile> = BTreeMap::new();
    let mut formats = BTreeSet::new();
    for _ in 0..MAX_PAGES {
        let response = hub.get(url.clone(), access, None, "the list of files").await?;
        let next = next_page(&response.headers, &url);
        let bytes = response.read(MAX_ANSWER_BYTES).await?;
        let WirePage(page) =
            serde_json::from_slice(&bytes).map_err(|e| invalid(access, &e.to_string()))?;
        for entry in page {
            if entry.kind != "file" {
                continue;
            }
            if !could_belong(&entry.path) {
                formats.extend(format_of(&entry.path));
                continue;
            }
            let file = checked(access, entry)?;
            if found.len() == MAX_FILES {
                return Err(invalid(access, &format!("it lists more than {MAX_FILES} files")));
            }
            if let Some(twice) = found.insert(file.path.clone(), file) {
                return Err(invalid(access, &format!("it lists {:?} twice", twice.path)));
            }
        }
        let Some(next) = next else {
            return Ok(Files { candidates: found.into_values().collect(), formats });
        };
        if !hub.is_own(&next) {
            let host = next.host_str().unwrap_or_default();
            return Err(invalid(access, &format!("its next page would be at {host}")));
        }
        url = next;
    }
    Err(invalid(access, &format!("it has more than {MAX_PAGES} pages")))
}

fn checked(access: &Access, entry: WireEntry) -> Result<HubFile> {
    let WireEntry { kind: _, path, size, lfs } = entry;
    check_path("file", &path).map_err(|e| invalid(access, &e.to_string()))?;
    let bytes = |size: &serde_json::Number| {
        // Manifests count in signed numbers.
        size.as_u64().filter(|size| i64::try_from(*size).is_ok()).ok_or_else(|| {
            let size: String = size.to_string().chars().take(40).collect();
            invalid(access, &format!("it says that {path} has {size} bytes"))
        })
    };
    let (size, sha256) = match (lfs, size) {
        (Some(large), _) => {
            let hex = large.oid.strip_prefix("sha256:").unwrap_or(&large.oid);
            let digest = format!("sha256:{hex}").parse().map_err(|_| {
                let oid: String = large.oid.chars().take(80).collect();
                invalid(access, &format!("it says that {path} has the digest {oid:?}"))
            })?;
            (bytes(&large.size)?, Some(digest))
        }
        (None, Some(size)) => (bytes(&size)?, None),
        (None, None) => {
            return Err(invalid(access, &format!("it does not say how long {path} is")));
        }
    };
    Ok(HubFile { path, size, sha256 })
}

/// The target of `rel="next"` in a `Link` header (RFC 8288).
fn next_page(headers: &HeaderMap, base: &Url) -> Option<Url> {
    let links = headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
    links.flat_map(|links| links.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim();
            parameter.eq_ignore_ascii_case("rel=\"next\"")
                || parameter.eq_ignore_ascii_case("rel=next")
        });
        if is_next { base.join(target).ok() } else { None }
    })
}

/// What the choice is made from; the rest of a repository is only named when there is no choice.
fn could_belong(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    name.ends_with(".gguf") || name.ends_with(".jinja") || is_license(&name)
}

/// Whether a file of this lower-cased name holds a licence: `LICENSE`, `licence.txt`, `COPYING.md`.
pub(super) fn is_license(name: &str) -> bool {
    let (stem, extension) = name.split_once('.').unwrap_or((name, "txt"));
    matches!(stem, "license" | "licence" | "copying") && matches!(extension, "txt" | "md")
}

fn format_of(path: &str) -> Option<&'static str> {
    let (_, extension) = path.rsplit_once('.')?;
    Some(match extension.to_ascii_lowercase().as_str() {
        "safetensors" => "safetensors",
        "bin" | "pt" | "pth" | "ckpt" => "PyTorch",
        "onnx" => "ONNX",
        "h5" | "keras" => "Keras",
        "msgpack" => "Flax",
        "tflite" | "task" | "litertlm" => "LiteRT",
        "mlmodel" | "mlpackage" => "Core ML",
        "ggml" => "GGML",
        "nemo" => "NeMo",
        _ => return None,
    })
}

fn invalid(access: &Access, why: &str) -> Error {
    let text = format!("the Hub's answer about {} is not taken: {why}", access.name);
    Error::new(ErrorKind::RegistryInvalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        let base: Url = "https://hub.example/api/x?cursor=1".parse().unwrap();
        let next = |link: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, link.parse().unwrap());
            next_page(&headers, &base).map(String::from)
        };
        let second = Some("https://hub.example/api/x?cursor=2".to_owned());
        assert_eq!(next("<https://hub.example/api/x?cursor=2>; rel=\"next\""), second);
        assert_eq!(next("</p>; rel=prev, <?cursor=2>; title=\"y\"; rel=next"), second);
        assert_eq!(next("<https://hub.example/1>; rel=\"first\""), None);
        assert_eq!(next("nonsense"), None);
        assert_eq!(next_page(&HeaderMap::new(), &base), None);
    }

    #[test]
    fn licences_are_told_by_their_names() {
        for name in ["license", "licence.txt", "copying", "license.md"] {
            assert!(is_license(name), "{name}");
        }
        for name in ["license.gguf", "unlicense", "license.py", "licenses", "readme.md"] {
            assert!(!is_license(name), "{name}");
        }
    }
}
