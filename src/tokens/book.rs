use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::token::{Fingerprint, looks_like_one};
use super::{Scope, Token, TokenFile};

/// Whom a valid token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The token's id, which is no secret.
    pub id: Arc<str>,
    /// What it is good for.
    pub scope: Scope,
}

/// What is known of a text that a client presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It is a token of ours.
    Valid(Standing),
    /// It was one until its time was over.
    Expired,
    /// It has the form of one and is none: revoked, or another daemon's.
    Unknown,
    /// It is none of ours: made up, or another service's.
    Foreign,
}

/// The tokens as they are now; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tokens(Option<Arc<Book>>);

#[derive(Debug)]
struct Book {
    file: TokenFile,
    seen: Mutex<Seen>,
}

/// What was read, and of which state of the file.
#[derive(Debug, Default)]
struct Seen {
    state: Option<FileState>,
    tokens: Arc<[Token]>,
}

/// What changes whenever a file is written or exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileState {
    place: (u64, u64),
    written: (i64, i64),
    changed: (i64, i64),
    bytes: u64,
}

impl Tokens {
    /// Those of a file, which may come later.
    pub fn of(file: TokenFile) -> Self {
        let book = Book { file, seen: Mutex::default() };
        Self(Some(Arc::new(book)))
    }

    /// What a text is, by the file as it is at this moment. Looks at the file's state, and reads it
    /// where that is another one than before.
    pub fn look_up(&self, text: &str, now: Timestamp) -> Known {
        if !looks_like_one(text) {
            return Known::Foreign;
        }
        let presented = Fingerprint::of(text);
        // All are compared, so that time does not tell which one it was.
        let mut found = None;
        let tokens = self.current();
        for token in tokens.iter() {
            if token.sha256().is(&presented) {
                found = Some(token);
            }
        }
        match found {
            None => Known::Unknown,
            Some(token) if token.has_expired(now) => Known::Expired,
            Some(token) => {
                Known::Valid(Standing { id: token.id.as_str().into(), scope: token.scope })
            }
        }
    }

    /// Whether there is a token that would be taken.
    pub fn has_any(&self, now: Timestamp) -> bool {
        self.current().iter().any(|token| !token.has_expired(now))
    }

    fn current(&self) -> Arc<[Token]> {
        let Some(book) = &self.0 else { return Arc::default() };
        let state = FileState::of(&book.file);
        let mut seen = book.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.state != state {
            seen.tokens = match book.file.read() {
                Ok(tokens) => tokens.into(),
                Err(error) => {
                    tracing::warn!(%error, "no token is valid");
                    Arc::default()
                }
            };
            // Of the state before reading: what was written meanwhile is read the next time.
            seen.state = state;
        }
        Arc::clone(&seen.tokens)
    }
}

impl FileState {
    fn of(file: &TokenFile) -> Option<Self> {
        let meta = std::fs::metadata(file.path()).ok()?;
        Some(Self {
            place: (meta.dev(), meta.ino()),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            bytes: meta.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use secrecy::ExposeSecret as _;

    use super::super::NewToken;
    use super::*;

    fn wanted(scope: Scope, life: Option<Duration>) -> NewToken {
        NewToken { name: None, scope, life }
    }

    #[test]
    fn changes_hold_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::within(dir.path());
        let tokens = Tokens::of(file.clone());
        let now = Timestamp::UNIX_EPOCH;
        assert!(!tokens.has_any(now));
        let made = file.create(wanted(Scope::Admin, None), now).unwrap();
        let (token, text) = (made.0, made.1.expose_secret().to_owned());
        let standing = Standing { id: token.id.as_str().into(), scope: Scope::Admin };
        assert_eq!(tokens.look_up(&text, now), Known::Valid(standing.clone()));
        assert!(tokens.has_any(now));
        // What others may read is not believed until it is its owner's alone again.
        std::fs::set_permissions(file.path(), Permissions::from_mode(0o644)).unwrap();
        assert_eq!(tokens.look_up(&text, now), Known::Unknown);
        std::fs::set_permissions(file.path(), Permissions::from_mode(0o600)).unwrap();
        assert_eq!(tokens.look_up(&text, now), Known::Valid(standing));
        file.revoke(&token.id).unwrap();
        assert_eq!(tokens.look_up(&text, now), Known::Unknown);
        std::fs::remove_file(file.path()).unwrap();
        assert!(!tokens.has_any(now));
    }

    #[test]
    fn the_end_of_a_life_is_told_from_a_stranger() {
        let dir = tempfile::tempdir().unwrap();
        let file = TokenFile::within(dir.path());
        let now = Timestamp::UNIX_EPOCH;
        let life = Some(Duration::from_secs(60));
        let text = file.create(wanted(Scope::Inference, life), now).unwrap().1;
        let tokens = Tokens::of(file);
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(matches!(tokens.look_up(text.expose_secret(), at(59)), Known::Valid(_)));
        assert_eq!(tokens.look_up(text.expose_secret(), at(60)), Known::Expired);
        assert!(tokens.has_any(at(59)) && !tokens.has_any(at(60)));
        let foreign = format!("mdl_{}", "a".repeat(43));
        assert_eq!(tokens.look_up(&foreign, now), Known::Unknown);
        assert_eq!(Tokens::default().look_up(&foreign, now), Known::Unknown);
    }
}
