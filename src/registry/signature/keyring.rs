use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_client::Reference;

use super::Demand;
use super::key::PublicKey;
use super::pattern::{Pattern, repository_of};
use crate::files::{ReadError, read_regular};

/// The largest file with keys, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Whose signatures the models of which repositories must have; the empty one demands none.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// The longest pattern first, and no two that mean the same.
    rules: Arc<[Rule]>,
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    keys: Vec<PublicKey>,
}

/// A setting that names no pattern or no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--signature-key {pattern}={}: {why}", file.display())]
pub struct KeyringError {
    pattern: String,
    file: PathBuf,
    why: String,
}

impl Keyring {
    /// Reads the public keys of all patterns, each a PEM file. A pattern may come with several
    /// keys, in one file or more: any of them may have signed.
    ///
    /// # Errors
    /// [`KeyringError`] for the first pattern or file that cannot be used: a key that is left out
    /// silently would leave models unchecked.
    pub fn new(keys: Vec<(String, PathBuf)>) -> Result<Self, KeyringError> {
        let mut rules: Vec<Rule> = Vec::new();
        for (text, file) in keys {
            let wrong = |why| KeyringError { pattern: text.clone(), file: file.clone(), why };
            let pattern = Pattern::parse(&text).map_err(wrong)?;
            let found = read(&file).and_then(|pem| PublicKey::all_in(&pem)).map_err(wrong)?;
            match rules.iter_mut().find(|rule| rule.pattern.same(&pattern)) {
                Some(rule) => rule.keys.extend(found),
                None => rules.push(Rule { pattern, keys: found }),
            }
        }
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.pattern.len()));
        Ok(Self { rules: rules.into() })
    }

    /// What is demanded of the models of this repository; `None` where they need no signature.
    pub fn demand(&self, named: &Reference) -> Option<Demand<'_>> {
        let repository = repository_of(named);
        let rule = self.rules.iter().find(|rule| rule.pattern.matches(&repository))?;
        Some(Demand { pattern: &rule.pattern, keys: &rule.keys })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    read_regular(file, MAX_FILE_BYTES).map_err(|error| match error {
        ReadError::TooLarge { .. } => format!("the file {error}; keys are smaller"),
        other => format!("the file {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &[u8] = include_bytes!("testdata/p256.pub.pem");

    fn files() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pub");
        std::fs::write(&file, PEM).unwrap();
        (dir, file)
    }

    #[test]
    fn the_longest_pattern_decides() {
        let (_dir, file) = files();
        let patterns =
            ["*", "docker.io/myorg/team/m", "myorg/*", "docker.io/myorg/*", "myorg/team/*"];
        let keys = patterns.map(|pattern| (pattern.to_owned(), file.clone()));
        let keyring = Keyring::new(keys.to_vec()).unwrap();
        for (name, pattern, keys) in [
            ("docker.io/ai/smollm2:latest", "*", 1),
            ("docker.io/myorg/m:t", "myorg/*", 2),
            ("docker.io/myorg/team/x:t", "myorg/team/*", 1),
            ("docker.io/myorg/team/m:t", "docker.io/myorg/team/m", 1),
        ] {
            let demand = keyring.demand(&name.parse().unwrap()).unwrap();
            assert_eq!((demand.pattern.to_string().as_str(), demand.keys.len()), (pattern, keys));
        }
    }

    #[test]
    fn without_a_match_nothing_is_demanded() {
        let (_dir, file) = files();
        let named: Reference = "ghcr.io/a/b:t".parse().unwrap();
        assert!(Keyring::default().demand(&named).is_none());
        let keyring = Keyring::new(vec![("ghcr.io/c/*".to_owned(), file)]).unwrap();
        assert!(keyring.demand(&named).is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (dir, good) = files();
        let large = dir.path().join("large");
        std::fs::write(&large, vec![b'\n'; 70_000]).unwrap();
        let text = dir.path().join("text");
        std::fs::write(&text, "hello").unwrap();
        for (pattern, file, part) in [
            ("docker.io/a*", good, "stands for whole names"),
            ("a/b", dir.path().join("missing"), "cannot be read"),
            ("a/b", dir.path().to_owned(), "is no file"),
            ("a/b", PathBuf::from("/dev/zero"), "is no file"),
            ("a/b", large, "more than 65536 bytes"),
            ("a/b", text, "holds no public key"),
        ] {
            let error = Keyring::new(vec![(pattern.to_owned(), file.clone())]).unwrap_err();
            let error = error.to_string();
            let setting = format!("--signature-key {pattern}={}: ", file.display());
            assert!(error.starts_with(&setting) && error.contains(part), "{error}");
        }
    }
}
