use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Scope, Token, TokenError};
use crate::files::{self, ReadError};

/// Tokens that the file may have.
const MOST: usize = 1_000;
/// Bytes that the file may have; a thousand tokens take 300 KiB.
const MAX_BYTES: u64 = 1 << 20;
/// The form of the file.
const VERSION: u32 = 1;

/// What a new token is to be.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What its owner calls it.
    pub name: Option<String>,
    /// What it is good for.
    pub scope: Scope,
    /// How long; `None`: for ever.
    pub life: Option<Duration>,
}

/// The file with the tokens.
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    tokens: Vec<Token>,
}

impl TokenFile {
    /// The one in modeld's directory for settings.
    pub fn within(config_dir: &Path) -> Self {
        Self { path: config_dir.join("tokens.json") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens, oldest first; none where there is no file.
    ///
    /// # Errors
    /// [`TokenError::Io`], [`TokenError::Unsafe`], [`TokenError::Broken`].
    pub fn read(&self) -> Result<Vec<Token>, TokenError> {
        let Some(text) = self.text()? else { return Ok(Vec::new()) };
        let broken = |problem: String| TokenError::Broken { path: self.path.clone(), problem };
        let content: Content = serde_json::from_slice(&text).map_err(|e| broken(e.to_string()))?;
        if content.version != VERSION {
            return Err(broken(format!("its version is {}, not {VERSION}", content.version)));
        }
        if content.tokens.len() > MOST {
            return Err(broken(format!("it has more than {MOST} tokens")));
        }
        Ok(content.tokens)
    }

    /// Adds a token. Its text, which is nowhere else, comes back with it.
    ///
    /// # Errors
    /// Every [`TokenError`] but [`TokenError::NoSuch`].
    pub fn create(
        &self,
        wanted: NewToken,
        now: Timestamp,
    ) -> Result<(Token, SecretString), TokenError> {
        let NewToken { name, scope, life } = wanted;
        if let Some(name) = name.as_ref().filter(|name| !is_name(name)) {
            return Err(TokenError::InvalidName { name: name.chars().take(80).collect() });
        }
        let expires = match life {
            None => None,
            Some(life) => Some(now.checked_add(life).map_err(|_| TokenError::TooFar)?),
        };
        self.change(|tokens| {
            if tokens.len() >= MOST {
                return Err(TokenError::TooMany { most: MOST });
            }
            if let Some(name) = &name
                && tokens.iter().any(|token| answers_to(token, name))
            {
                return Err(TokenError::NameTaken { name: name.clone() });
            }
            let made = Token::generate(name, scope, now, expires);
            let (token, text) = made.map_err(|e| TokenError::io("make a random token", e))?;
            tokens.push(token.clone());
            Ok((token, text))
        })
    }

    /// Removes the token of this name or id.
    ///
    /// # Errors
    /// [`TokenError::NoSuch`], and those of reading and writing.
    pub fn revoke(&self, name: &str) -> Result<Token, TokenError> {
        self.change(|tokens| {
            let at = tokens.iter().position(|token| answers_to(token, name));
            match at {
                Some(at) => Ok(tokens.remove(at)),
                None => Err(TokenError::NoSuch { name: name.chars().take(80).collect() }),
            }
        })
    }

    /// Reads, changes and writes while no other process does.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Token>) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let _lock = files::lock_for_change(&self.path)
            .map_err(|e| TokenError::io(format!("lock {}", dir.display()), e))?;
        let mut tokens = self.read()?;
        let done = change(&mut tokens)?;
        self.write(tokens)?;
        Ok(done)
    }

    /// Puts a whole new file, which only we can read, into the place of the old one.
    fn write(&self, tokens: Vec<Token>) -> Result<(), TokenError> {
        let failed = |e| TokenError::io(format!("write {}", self.path.display()), e);
        let content = Content { version: VERSION, tokens };
        let mut text = serde_json::to_vec_pretty(&content).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        files::replace(&files::destination(&self.path), &text, 0o600).map_err(failed)
    }

    fn text(&self) -> Result<Option<Vec<u8>>, TokenError> {
        let file = match files::open_regular(&self.path) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(self.unread(error)),
        };
        let us = rustix::process::geteuid().as_raw();
        let (owner, mode) = (file.owner(), file.mode());
        let problem = if owner != us {
            format!("belongs to another user (uid {owner}, not {us})")
        } else if mode & 0o077 != 0 {
            format!("is open to other users (mode {mode:o}), so no token in it is taken; chmod 600")
        } else {
            return file.read(MAX_BYTES).map(Some).map_err(|error| self.unread(error));
        };
        Err(TokenError::Unsafe { path: self.path.clone(), problem })
    }

    fn unread(&self, error: ReadError) -> TokenError {
        match error {
            ReadError::Io(error) => TokenError::io(format!("read {}", self.path.display()), error),
            other => TokenError::Unsafe { path: self.path.clone(), problem: other.to_string() },
        }
    }
}

fn answers_to(token: &Token, name: &str) -> bool {
    token.id == name || token.name.as_deref() == Some(name)
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=64).contains(&name.len()) && !name.starts_with('-') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn place() -> (tempfile::TempDir, TokenFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::within(&dir.path().join("modeld"));
        (dir, file)
    }

    fn wanted(name: &str) -> NewToken {
        let name = (!name.is_empty()).then(|| name.to_owned());
        NewToken { name, scope: Scope::Inference, life: None }
    }

    #[test]
    fn what_is_made_is_listed_until_it_is_revoked() {
        let (_dir, file) = place();
        assert_eq!(file.read().unwrap(), []);
        let now = Timestamp::UNIX_EPOCH;
        let (named, _) = file.create(wanted("ci"), now).unwrap();
        let (bare, _) = file.create(wanted(""), now).unwrap();
        assert_eq!(file.read().unwrap(), [named.clone(), bare.clone()]);
        assert!(matches!(file.create(wanted("ci"), now), Err(TokenError::NameTaken { .. })));
        assert!(matches!(file.create(wanted(&bare.id), now), Err(TokenError::NameTaken { .. })));
        assert_eq!(file.revoke("ci").unwrap(), named);
        assert!(matches!(file.revoke("ci"), Err(TokenError::NoSuch { .. })));
        assert_eq!(file.revoke(&bare.id).unwrap(), bare);
        assert_eq!(file.read().unwrap(), []);
    }

    #[test]
    fn the_file_is_its_owners_alone_or_not_believed() {
        let (_dir, file) = place();
        file.create(wanted(""), Timestamp::UNIX_EPOCH).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(file.path()), 0o600);
        assert_eq!(mode(file.path().parent().unwrap()), 0o700);
        for bits in [0o640, 0o604, 0o620, 0o602] {
            std::fs::set_permissions(file.path(), Permissions::from_mode(bits)).unwrap();
            let error = file.read().unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
            assert!(file.create(wanted(""), Timestamp::UNIX_EPOCH).is_err(), "{bits:o}");
        }
        std::fs::remove_file(file.path()).unwrap();
        std::fs::create_dir(file.path()).unwrap();
        assert!(matches!(file.read(), Err(TokenError::Unsafe { .. })));
    }

    #[test]
    fn what_is_no_list_of_tokens_is_named() {
        let (_dir, file) = place();
        file.create(wanted(""), Timestamp::UNIX_EPOCH).unwrap();
        let large = " ".repeat(usize::try_from(MAX_BYTES).unwrap() + 1);
        for text in ["", "{}", r#"{"version":2,"tokens":[]}"#, r#"{"version":1,"tokens":[{}]}"#] {
            std::fs::write(file.path(), text).unwrap();
            assert!(matches!(file.read(), Err(TokenError::Broken { .. })), "{text}");
        }
        std::fs::write(file.path(), large).unwrap();
        assert!(matches!(file.read(), Err(TokenError::Unsafe { .. })));
    }

    #[test]
    fn names_are_plain_words() {
        let (_dir, file) = place();
        for name in ["-x", "a b", "ü", "a/b", "a\n", &"x".repeat(65)] {
            let made = file.create(wanted(name), Timestamp::UNIX_EPOCH);
            assert!(matches!(made, Err(TokenError::InvalidName { .. })), "{name:?}");
        }
        let far = NewToken { life: Some(Duration::MAX), ..wanted("far") };
        assert!(matches!(file.create(far, Timestamp::UNIX_EPOCH), Err(TokenError::TooFar)));
        assert!(!file.path().exists());
    }

    #[test]
    fn writers_at_once_lose_nothing() {
        let (_dir, file) = place();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let file = &file;
                scope.spawn(move || {
                    for number in 0..5 {
                        let name = format!("{thread}-{number}");
                        file.create(wanted(&name), Timestamp::UNIX_EPOCH).unwrap();
                    }
                });
            }
        });
        assert_eq!(file.read().unwrap().len(), 20);
    }
}
