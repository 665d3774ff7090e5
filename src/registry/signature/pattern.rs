use std::fmt;

use oci_client::Reference;

use crate::domain::ModelRef;
use crate::registry::host::host_name;

/// The repository of a reference, the registry's aliases joined: `docker.io/myorg/m`. Reading it
/// as a name leads to the same repository again.
pub(super) fn repository_of(reference: &Reference) -> String {
    let registry = reference.registry();
    let mut host = host_name(registry).unwrap_or_else(|| registry.to_ascii_lowercase());
    // A single word in front is a namespace of Docker Hub unless it has a port, even https' own.
    if !host.contains(['.', ':']) && host != "localhost" {
        host.push_str(":443");
    }
    format!("{host}/{}", reference.repository())
}

/// The repository of a name as others write it, with or without a tag or digest; `None` for what
/// is no name.
pub(super) fn repository_in(text: &str) -> Option<String> {
    match ModelRef::named(text) {
        Ok(ModelRef::Named(reference)) => Some(repository_of(&reference)),
        Ok(ModelRef::Id(_) | ModelRef::ShortId(_)) | Err(_) => None,
    }
}

/// Which repositories: one of them in full, all below a path (`docker.io/myorg/*`) or all (`*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As it was configured.
    text: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    One(String),
    /// Ends in `/` or is empty.
    Below(String),
}

impl Pattern {
    /// Reads a pattern; what a model's name may leave out (`docker.io`) it may leave out as well.
    ///
    /// A pattern that could never match is refused: whoever wrote it believes to be protected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let what = match trimmed.strip_suffix('*') {
            Some("") => What::Below(String::new()),
            Some(path) => {
                let path = path.strip_suffix('/').ok_or(
                    "a `*` stands for whole names: alone or after a `/`, as in docker.io/myorg/*",
                )?;
                What::Below(below(path)?)
            }
            None => What::One(one(trimmed)?),
        };
        Ok(Self { text: trimmed.to_owned(), what })
    }

    /// Whether it speaks of this repository, which is spelled as [`repository_of`] does.
    pub fn matches(&self, repository: &str) -> bool {
        match &self.what {
            What::One(one) => one == repository,
            What::Below(prefix) => repository.starts_with(prefix.as_str()),
        }
    }

    /// How much of a name it fixes: the longest pattern decides.
    pub fn len(&self) -> usize {
        match &self.what {
            What::One(one) => one.len(),
            What::Below(prefix) => prefix.len(),
        }
    }

    /// Whether both say the same, however they are spelled.
    pub fn same(&self, other: &Self) -> bool {
        self.what == other.what
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What all repositories below a path begin with.
fn below(path: &str) -> Result<String, String> {
    // Two more parts make a name of any path, a registry alone included, and keep the default
    // namespace out of it.
    let inside = one(&format!("{path}/x/x"))?;
    let prefix = inside.strip_suffix("x/x").ok_or("it is no path of repositories")?;
    Ok(prefix.to_owned())
}

fn one(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("a `*` can only be the last part, as in docker.io/myorg/*".to_owned());
    }
    let reference = match ModelRef::named(text) {
        Ok(ModelRef::Named(reference)) => reference,
        Ok(other) => return Err(format!("{other} is an id, not a repository")),
        Err(error) => return Err(error.message),
    };
    // A port is before the last slash, a tag after it.
    let last = text.rsplit('/').next().unwrap_or(text);
    if text.contains('@') || last.contains(':') {
        return Err("it names one version; signatures are asked for by repository".to_owned());
    }
    Ok(repository_of(&reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_themselves_and_what_is_below() {
        for (pattern, name, matches) in [
            ("*", "smollm2", true),
            ("*", "ghcr.io/a/b/c", true),
            ("docker.io/myorg/*", "myorg/m:7B", true),
            ("docker.io/myorg/*", "index.docker.io/myorg/m", true),
            ("docker.io/myorg/*", "myorg/team/m", true),
            ("docker.io/myorg/*", "myorg2/m", false),
            ("docker.io/myorg/*", "ghcr.io/myorg/m", false),
            ("docker.io/myorg/*", "ghcr.io/docker.io/myorg/m", false),
            ("myorg/*", "docker.io/myorg/m", true),
            ("index.docker.io/myorg/*", "myorg/m", true),
            ("registry-1.docker.io/myorg/*", "myorg/m", true),
            ("DOCKER.io/MyOrg/*", "myorg/m", true),
            ("docker.io/*", "smollm2", true),
            ("docker.io/*", "quay.io/a/b", false),
            ("ghcr.io/*", "ghcr.io/a", true),
            ("ghcr.io:443/a/*", "ghcr.io/a/b", true),
            ("ghcr.io/a/*", "ghcr.io:443/a/b", true),
            ("registry:443/a/*", "registry:443/a/b", true),
            ("registry:443/*", "docker.io/registry/a", false),
            ("registry/*", "registry:443/a", false),
            ("localhost:443/*", "localhost/m", true),
            ("ghcr.io/a/b", "ghcr.io/a/b:t", true),
            ("ghcr.io/a/b", "ghcr.io/a/b/c", false),
            ("ghcr.io/a/b", "ghcr.io/a/bc", false),
            ("ghcr.io/a/b/*", "ghcr.io/a/b", false),
            ("localhost:5000/*", "localhost:5000/m", true),
            ("localhost:5000/*", "localhost:5001/m", false),
            ("smollm2", "docker.io/ai/smollm2", true),
            ("hf.co/org/*", "huggingface.co/org/m:Q4_K_M", true),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            let repository = repository_in(name).unwrap();
            assert_eq!(pattern.matches(&repository), matches, "{pattern} {repository}");
        }
    }

    #[test]
    fn what_could_never_match_is_refused() {
        for text in [
            "",
            " ",
            "/",
            "/*",
            "a*",
            "docker.io/myorg*",
            "*/m",
            "docker.io/*/m",
            "**",
            "a/**",
            "ghcr.io/a/b:t",
            "ghcr.io/a/*:t",
            "ghcr.io/a//b",
            "ghcr.io/a/../*",
            "https://ghcr.io/*",
            "ghcr.io/a b",
            "ghcr.io/-/*",
            "ghcr.io/a@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_pattern_or_none(text in "\\PC{0,40}", name in "[a-z./:*@-]{0,40}") {
            for text in [&text, &name] {
                if let Ok(pattern) = Pattern::parse(text) {
                    let again = Pattern::parse(&pattern.to_string());
                    proptest::prop_assert_eq!(again, Ok(pattern));
                }
                let _ = repository_in(text);
            }
        }

        #[test]
        fn a_repository_matches_itself_its_path_and_everything(
            name in "[a-z][a-z0-9]{0,8}(\\.[a-z]{2,3})?(:443|:[1-9][0-9]{0,3})?/[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}"
        ) {
            if let Some(repository) = repository_in(&name) {
                let (path, _) = repository.rsplit_once('/').unwrap();
                for text in ["*", &format!("{path}/*"), &repository] {
                    let pattern = Pattern::parse(text).unwrap();
                    proptest::prop_assert!(pattern.matches(&repository), "{} {}", text, repository);
                }
            }
        }
    }
}
