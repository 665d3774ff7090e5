use http::StatusCode;
use serde::Deserialize;

use crate::domain::{Error, ErrorKind};

use super::Access;
use super::answer::clean;
use super::source::Source;

/// How much of a list of tags is read.
const MAX_BYTES: usize = 256 << 10;
/// How many tags are named.
const SHOWN: usize = 5;

#[derive(Deserialize)]
struct TagList {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// Adds to a `RegistryNotFound` which tags there are, where the repository exists and says so.
pub(super) async fn with_suggestions(
    access: &dyn Access,
    source: &Source,
    tag: &str,
    mut error: Error,
) -> Error {
    if error.kind == ErrorKind::RegistryNotFound
        && let Some(tags) = list(access, source).await
        && let Some(hint) = hint(tag, tags)
    {
        error.message.push_str(&hint);
    }
    error
}

/// The first tags of a repository, if it can be asked for them.
async fn list(access: &dyn Access, source: &Source) -> Option<Vec<String>> {
    let url = source.tags_url().ok()?;
    let build = || source.get(url.clone());
    let answer =
        access.send(&source.host, &source.scope, source.token.as_ref(), &build).await.ok()?;
    if answer.status != StatusCode::OK {
        return None;
    }
    let body = answer.read(MAX_BYTES).await.ok()?;
    serde_json::from_slice::<TagList>(&body).ok()?.tags
}

fn hint(wanted: &str, mut tags: Vec<String>) -> Option<String> {
    tags.retain(|tag| !tag.is_empty() && tag.len() <= 128 && tag != wanted && *tag == clean(tag));
    let alike = |tag: &str| {
        let (tag, wanted) = (tag.to_ascii_lowercase(), wanted.to_ascii_lowercase());
        let same = tag.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
        let within = tag.contains(&wanted) || wanted.contains(&tag);
        (within, same)
    };
    tags.sort_by_key(|tag| std::cmp::Reverse(alike(tag)));
    let more = if tags.len() > SHOWN { " and others" } else { "" };
    tags.truncate(SHOWN);
    (!tags.is_empty()).then(|| format!("; it has the tags {}{more}", tags.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_tags_come_first() {
        let tags = |list: &[&str]| list.iter().map(|tag| (*tag).to_owned()).collect();
        assert_eq!(hint("x", tags(&[])), None);
        assert_eq!(hint("x", tags(&["x", "", "a\nb"])), None);
        assert_eq!(
            hint("7b-q4", tags(&["latest", "7B-Q4_K_M", "7b-Q8_0"])).unwrap(),
            "; it has the tags 7B-Q4_K_M, 7b-Q8_0, latest"
        );
        assert_eq!(
            hint("z", tags(&["a", "b", "c", "d", "e", "f"])).unwrap(),
            "; it has the tags a, b, c, d, e and others"
        );
    }
}
