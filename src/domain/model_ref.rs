use std::fmt;

use oci_client::Reference;

use super::{Digest, Error, ErrorKind, Result};

/// The longest text that is looked at at all, in bytes: a registry, a repository of 255, a tag of
/// 128 and a digest fit.
const MAX_BYTES: usize = 600;

/// Who owns names without an owner, as Docker Hub's `library` does for images.
const DEFAULT_NAMESPACE: &str = "ai";
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_LEGACY: &str = "index.docker.io";
/// Where Ollama's users have names without a registry from, and the owner of those without one.
const OLLAMA: &str = "registry.ollama.ai";
const OLLAMA_NAMESPACE: &str = "library";

/// A model as its user names it, normalised once: `smollm2` is `docker.io/ai/smollm2:latest`
/// everywhere (rules: the name normalisation of Docker Model Runner).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// A full model id, the digest of its manifest.
    Id(Digest),
    /// The first 12 hexadecimal digits of an id. A model may also be *called* twelve such digits;
    /// the store looks for that name when no id begins so.
    ShortId(String),
    /// A registry name with tag or digest.
    Named(Reference),
}

impl ModelRef {
    /// Normalises and parses what a user or client wrote.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidReference`], naming what is wrong; nothing is looked up.
    pub fn parse(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        refuse_obvious(trimmed)?;
        if is_lower_hex(trimmed, 12) {
            return Ok(Self::ShortId(trimmed.to_owned()));
        }
        if is_lower_hex(trimmed, 64) {
            return parse_digest(trimmed, &format!("sha256:{trimmed}")).map(Self::Id);
        }
        if trimmed.starts_with("sha256:") {
            return parse_digest(trimmed, trimmed).map(Self::Id);
        }
        Self::named(trimmed)
    }

    /// Parses a name even where it looks like an id.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidReference`], naming what is wrong.
    pub fn named(text: &str) -> Result<Self> {
        let trimmed = text.trim();
        refuse_obvious(trimmed)?;
        let (rest, digest) = match trimmed.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(trimmed, digest)?)),
            None => (trimmed, None),
        };
        let (name, tag) = split_tag(rest);
        let name = qualify(&name.to_ascii_lowercase());
        let whole = match (tag, digest) {
            (Some(tag), Some(digest)) => format!("{name}:{tag}@{digest}"),
            (None, Some(digest)) => format!("{name}@{digest}"),
            (tag, None) => format!("{name}:{}", tag.unwrap_or("latest")),
        };
        let reference = whole.parse::<Reference>().map_err(|e| invalid(trimmed, &e.to_string()))?;
        Ok(Self::Named(reference))
    }

    /// What a text that names no registry means to Ollama's users: `llama3:8b` is
    /// `registry.ollama.ai/library/llama3:8b`. `None` for texts that name a registry or an id.
    pub fn on_ollama(text: &str) -> Option<Self> {
        let (name, _) = split_tag(text.trim());
        let owner = match name.split_once('/') {
            None => format!("{OLLAMA}/{OLLAMA_NAMESPACE}"),
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => return None,
            Some(_) => OLLAMA.to_owned(),
        };
        let named = |text: &str| Self::named(&format!("{owner}/{}", text.trim())).ok();
        named(text).filter(|reference| reference.digest().is_none())
    }

    /// A qualified tag as people write it: without the registry where that goes without saying,
    /// always with the tag (`smollm2:latest`). It means the same again; `is_taken` tells which
    /// qualified tags there are, because a name on Docker Hub goes before one of Ollama's.
    pub fn short(tag: &str, is_taken: impl Fn(&str) -> bool) -> String {
        let hubs = [
            (format!("{DOCKER_HUB}/{DEFAULT_NAMESPACE}/"), ""),
            (format!("{DOCKER_HUB}/"), ""),
            (format!("{OLLAMA}/{OLLAMA_NAMESPACE}/"), ""),
            (format!("{OLLAMA}/"), ""),
            ("huggingface.co/".to_owned(), "hf.co/"),
        ];
        let short = hubs.iter().find_map(|(long, short)| {
            tag.strip_prefix(long.as_str()).map(|rest| format!("{short}{rest}"))
        });
        let Some(short) = short else { return tag.to_owned() };
        let qualified = |reference: Option<Self>| reference.and_then(|r| r.qualified_tag());
        let first = qualified(Self::parse(&short).ok());
        let second = qualified(Self::on_ollama(&short));
        let means_it = first.as_deref() == Some(tag)
            || (second.as_deref() == Some(tag) && first.is_none_or(|other| !is_taken(&other)));
        if means_it { short } else { tag.to_owned() }
    }

    /// The digest of the manifest that it pins: the id itself, or what follows the `@` of a name.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Id(digest) => Some(*digest),
            Self::ShortId(_) => None,
            Self::Named(reference) => reference.digest().and_then(|text| text.parse().ok()),
        }
    }

    /// The fully qualified tag (`docker.io/ai/smollm2:latest`), as stores and lists hold it; `None`
    /// for ids and for names that a digest pins.
    pub fn qualified_tag(&self) -> Option<String> {
        match self {
            Self::Named(reference) if reference.digest().is_none() => Some(reference.whole()),
            _ => None,
        }
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(digest) => digest.fmt(f),
            Self::ShortId(hex) => f.write_str(hex),
            Self::Named(reference) => fmt::Display::fmt(reference, f),
        }
    }
}

/// What the grammar of references would refuse too, but with less of an explanation.
fn refuse_obvious(text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidReference,
            "the model name is empty; names look like `smollm2` or `ai/smollm2:135M-Q4_0`",
        ));
    }
    if text.len() > MAX_BYTES {
        return Err(invalid(text, &format!("it has {} bytes, over {MAX_BYTES}", text.len())));
    }
    if text.contains("://") {
        return Err(invalid(text, "it is a URL; leave out the scheme"));
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(invalid(text, &format!("the character {bad:?} is not allowed")));
    }
    if text.contains('%') {
        return Err(invalid(text, "the character '%' is not allowed"));
    }
    if text.contains("//") || text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(invalid(text, "a part between slashes is empty, `.` or `..`"));
    }
    Ok(())
}

/// The tag is what follows the last colon, if that comes after the last slash; an empty one counts
/// as none.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, (!tag.is_empty()).then_some(tag)),
        _ => (text, None),
    }
}

/// Adds the registry and the default namespace where they are implied.
fn qualify(name: &str) -> String {
    let name = match name.strip_prefix("hf.co/") {
        Some(rest) => format!("huggingface.co/{rest}"),
        None => name.to_owned(),
    };
    let on_hub = [DOCKER_HUB, DOCKER_HUB_LEGACY].iter().find_map(|host| {
        name.strip_prefix(host)?.strip_prefix('/').filter(|rest| !rest.is_empty())
    });
    match on_hub {
        Some(rest) if rest.contains('/') => format!("{DOCKER_HUB}/{rest}"),
        Some(rest) => format!("{DOCKER_HUB}/{DEFAULT_NAMESPACE}/{rest}"),
        None if name.contains('/') => match name.split_once('/') {
            Some((OLLAMA, rest)) if !rest.contains('/') => {
                format!("{OLLAMA}/{OLLAMA_NAMESPACE}/{rest}")
            }
            _ => name,
        },
        None => format!("{DEFAULT_NAMESPACE}/{name}"),
    }
}

fn parse_digest(whole: &str, digest: &str) -> Result<Digest> {
    digest.parse().map_err(|e: super::DigestError| invalid(whole, &e.to_string()))
}

fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn invalid(text: &str, why: &str) -> Error {
    let shown: String = text.chars().take(80).collect();
    let dots = if shown.len() < text.len() { "…" } else { "" };
    Error::new(
        ErrorKind::InvalidReference,
        format!(
            "{shown:?}{dots} is not a model name: {why}; names look like `smollm2`, \
             `ai/smollm2:135M-Q4_0` or `hf.co/org/repo:Q4_K_M`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_normalised_to_one_form() {
        for (text, whole) in [
            ("smollm2", "docker.io/ai/smollm2:latest"),
            ("  smollm2\n", "docker.io/ai/smollm2:latest"),
            ("MyModel:Q4", "docker.io/ai/mymodel:Q4"),
            ("myorg/m:", "docker.io/myorg/m:latest"),
            ("ai/smollm2:135M-Q4_0", "docker.io/ai/smollm2:135M-Q4_0"),
            ("docker.io/smollm2", "docker.io/ai/smollm2:latest"),
            ("docker.io/ai/smollm2", "docker.io/ai/smollm2:latest"),
            ("index.docker.io/ai/smollm2", "docker.io/ai/smollm2:latest"),
            ("index.docker.io/smollm2:x", "docker.io/ai/smollm2:x"),
            ("registry.example.com/m", "registry.example.com/m:latest"),
            ("localhost:5000/m", "localhost:5000/m:latest"),
            ("hf.co/Org/Repo:Q8_0", "huggingface.co/org/repo:Q8_0"),
            ("registry.ollama.ai/llama3", "registry.ollama.ai/library/llama3:latest"),
            ("registry.ollama.ai/who/m:x", "registry.ollama.ai/who/m:x"),
            ("abcdef01234", "docker.io/ai/abcdef01234:latest"),
            ("ABCDEF012345", "docker.io/ai/abcdef012345:latest"),
        ] {
            let parsed = ModelRef::parse(text).unwrap();
            assert_eq!(parsed.to_string(), whole, "{text:?}");
            assert_eq!(parsed.qualified_tag().as_deref(), Some(whole));
        }
    }

    #[test]
    fn names_without_a_registry_may_be_ollamas() {
        for (text, whole) in [
            ("llama3", Some("registry.ollama.ai/library/llama3:latest")),
            (" LLaMA3:8B ", Some("registry.ollama.ai/library/llama3:8B")),
            ("someone/m:x", Some("registry.ollama.ai/someone/m:x")),
            ("docker.io/ai/x", None),
            ("localhost/x", None),
            ("localhost:5000/x", None),
            ("hf.co/a/b:Q4", None),
            ("", None),
            ("a//b", None),
        ] {
            let found = ModelRef::on_ollama(text).map(|reference| reference.to_string());
            assert_eq!(found.as_deref(), whole, "{text:?}");
        }
        assert_eq!(ModelRef::on_ollama(&format!("x@sha256:{HEX}")), None);
    }

    #[test]
    fn short_names_mean_the_same() {
        let taken = |tag: &str| tag == "docker.io/ai/both:latest";
        for (tag, short) in [
            ("docker.io/ai/smollm2:latest", "smollm2:latest"),
            ("docker.io/myorg/m:Q4", "myorg/m:Q4"),
            ("registry.ollama.ai/library/llama3:8b", "llama3:8b"),
            ("registry.ollama.ai/library/both:latest", "registry.ollama.ai/library/both:latest"),
            ("registry.ollama.ai/someone/m:x", "someone/m:x"),
            ("huggingface.co/org/repo:q4_k_m", "hf.co/org/repo:q4_k_m"),
            ("localhost:5000/m:latest", "localhost:5000/m:latest"),
            ("docker.io/ai/a/b:x", "docker.io/ai/a/b:x"),
        ] {
            assert_eq!(ModelRef::short(tag, taken), short);
        }
    }

    #[test]
    fn ids_are_told_from_names() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        assert_eq!(ModelRef::parse(HEX), Ok(ModelRef::Id(digest)));
        assert_eq!(ModelRef::parse(&format!("sha256:{HEX}")), Ok(ModelRef::Id(digest)));
        assert_eq!(ModelRef::parse("0123456789ab"), Ok(ModelRef::ShortId("0123456789ab".into())));
        assert_eq!(ModelRef::parse("0123456789ab").unwrap().qualified_tag(), None);
        let pinned = ModelRef::parse(&format!("name@sha256:{HEX}")).unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/ai/name@sha256:{HEX}"));
        assert_eq!((pinned.digest(), pinned.qualified_tag()), (Some(digest), None));
        let both = ModelRef::parse(&format!("name:t@sha256:{HEX}")).unwrap();
        assert_eq!(both.digest(), Some(digest));
    }

    #[test]
    fn bad_references_are_refused_and_explained() {
        let long = "a".repeat(300);
        let huge = "a".repeat(10_000);
        let upper = format!("a@sha256:{}", HEX.to_uppercase());
        for bad in [
            "",
            "   ",
            "../a",
            "a//b",
            "a/../b",
            "a/./b",
            "/a",
            "a/",
            ":",
            ":tag",
            &long,
            &huge,
            "a:b:c",
            "a@sha256:short",
            "sha256:short",
            "a@sha512:00",
            &upper,
            "http://x/y",
            "-x",
            "a/-x",
            "\0",
            "a\0b",
            "x:tag/../y",
            "%2e%2e%2f",
            "%252e",
            "modèle",
            "a b",
            "a@",
            "@",
            "a:-t",
            "[::1]:1/x",
            "a@b@c",
            "docker.io/",
            "hf.co/",
        ] {
            let error = ModelRef::parse(bad).expect_err(bad);
            assert_eq!(error.kind, ErrorKind::InvalidReference, "{bad:?}");
            assert!(error.message.len() < 500, "{bad:?}");
        }
        insta::assert_snapshot!(
            ModelRef::parse("http://x/y").unwrap_err().message,
            @r#""http://x/y" is not a model name: it is a URL; leave out the scheme; names look like `smollm2`, `ai/smollm2:135M-Q4_0` or `hf.co/org/repo:Q4_K_M`"#
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in any::<String>()) {
            let _ = ModelRef::parse(&text);
        }

        #[test]
        fn what_is_printed_parses_to_the_same(
            text in "([a-zA-Z0-9.:-]{1,12}/)?([a-zA-Z0-9._-]{1,8}/)?[a-zA-Z0-9._-]{1,14}(:[a-zA-Z0-9._-]{0,6})?(@sha256:[0-9a-f]{64})?"
        ) {
            if let Ok(parsed) = ModelRef::parse(&text) {
                prop_assert_eq!(ModelRef::parse(&parsed.to_string()), Ok(parsed));
            }
        }
    }
}
