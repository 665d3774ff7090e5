use super::CliError;
use crate::domain::ModelRef;

/// A tag as people know it: without the default registry, the default organisation and the
/// default tag. `docker.io/ai/smollm2:latest` is `smollm2`.
pub(super) fn short(tag: &str) -> &str {
    let name = ["docker.io/", "index.docker.io/"]
        .iter()
        .find_map(|registry| tag.strip_prefix(registry))
        .unwrap_or(tag);
    let name = name.strip_prefix("ai/").unwrap_or(name);
    name.strip_suffix(":latest").unwrap_or(name)
}

/// The twelve digits that stand for an id; anything else stays as it is.
pub(super) fn short_id(id: &str) -> &str {
    id.strip_prefix("sha256:").and_then(|hex| hex.get(..12)).unwrap_or(id)
}

/// Whether what a user typed as a filter means this tag; without a tag of its own it means all.
pub(super) fn matches(tag: &str, filter: &str) -> bool {
    let (tag_name, tag_version) = split(short(tag));
    let (name, version) = split(short(filter));
    let same_version = version.is_none() && !filter.ends_with(":latest") || version == tag_version;
    name.eq_ignore_ascii_case(tag_name) && same_version
}

/// A target for tagging, as repository and tag.
pub(super) fn split_target(target: &str) -> (&str, &str) {
    let (repo, tag) = split(target);
    (repo, tag.filter(|t| !t.is_empty()).unwrap_or("latest"))
}

/// The same, where it is one that a model can have.
pub(super) fn checked_target(target: &str) -> Result<(&str, &str), CliError> {
    let (repo, tag) = split_target(target);
    ModelRef::parse(&format!("{repo}:{tag}"))
        .map_err(|e| CliError::Usage(e.to_string()))?
        .qualified_tag()
        .ok_or_else(|| CliError::Usage(format!("{target:?} cannot be a model's name")))?;
    Ok((repo, tag))
}

/// A colon after the last slash starts the tag; one before it belongs to a port.
fn split(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repo, tag)) if !tag.contains('/') => (repo, Some(tag)),
        Some(_) | None => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_not_shown() {
        for (tag, shown) in [
            ("docker.io/ai/smollm2:latest", "smollm2"),
            ("index.docker.io/ai/gemma3:latest", "gemma3"),
            ("docker.io/ai/smollm2:360M-Q4_K_M", "smollm2:360M-Q4_K_M"),
            ("docker.io/myorg/gemma3:latest", "myorg/gemma3"),
            ("huggingface.co/org/repo:Q8_0", "huggingface.co/org/repo:Q8_0"),
            ("localhost:5000/m:latest", "localhost:5000/m"),
        ] {
            assert_eq!(short(tag), shown);
        }
    }

    #[test]
    fn filters_take_every_spelling() {
        let tag = "docker.io/ai/smollm2:latest";
        for filter in ["smollm2", "ai/smollm2", "SmolLM2", "smollm2:latest", tag] {
            assert!(matches(tag, filter), "{filter}");
        }
        for filter in ["smollm", "myorg/smollm2", "smollm2:q4"] {
            assert!(!matches(tag, filter), "{filter}");
        }
        assert!(matches("docker.io/ai/smollm2:q4", "smollm2"));
        assert!(!matches("docker.io/ai/smollm2:q4", "smollm2:latest"));
    }

    #[test]
    fn targets_split_at_the_tag_and_not_at_the_port() {
        for (target, parts) in [
            ("m", ("m", "latest")),
            ("m:", ("m", "latest")),
            ("org/m:v1", ("org/m", "v1")),
            ("localhost:5000/m", ("localhost:5000/m", "latest")),
        ] {
            assert_eq!(split_target(target), parts);
        }
    }
}
