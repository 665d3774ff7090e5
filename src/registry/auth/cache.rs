use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};

use crate::registry::{RegistryHost, Scope};

/// The most tokens that are kept.
const MAX_TOKENS: usize = 256;

/// A token and how long it may be used.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) secret: SecretString,
    /// Shortly before it expires.
    fresh_until: Instant,
}

impl Token {
    /// One that was asked for at `asked` and lives for `lifetime` from then on.
    pub(super) fn new(secret: SecretString, asked: Instant, lifetime: Duration) -> Self {
        let margin = (lifetime / 10).min(Duration::from_secs(15));
        let usable = lifetime.saturating_sub(margin);
        Self { secret, fresh_until: asked.checked_add(usable).unwrap_or(asked) }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until
    }
}

/// Whose token it is, and for what.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) registry: RegistryHost,
    pub(super) scope: Scope,
    /// [`Credential::fingerprint`](super::Credential::fingerprint); `None` for anonymous users.
    pub(super) credential: Option<[u8; 32]>,
}

/// The place of one token. Whoever holds its lock fetches it, others wait for that.
#[derive(Default)]
pub(super) struct Slot(tokio::sync::Mutex<Option<Token>>);

impl Slot {
    /// The token, if it is fresh at `now` and not the `refused` one; else what `fetch` brings.
    pub(super) async fn get<E>(
        &self,
        now: Instant,
        refused: Option<&SecretString>,
        fetch: impl Future<Output = Result<Token, E>>,
    ) -> Result<SecretString, E> {
        let mut held = self.0.lock().await;
        let is_refused = |token: &Token| {
            refused.is_some_and(|r| r.expose_secret() == token.secret.expose_secret())
        };
        if let Some(token) = held.as_ref()
            && token.is_fresh(now)
            && !is_refused(token)
        {
            return Ok(token.secret.clone());
        }
        *held = None;
        let token = fetch.await?;
        let secret = token.secret.clone();
        *held = Some(token);
        Ok(secret)
    }

    /// Forgets the token, if it is this one.
    pub(super) async fn forget(&self, refused: &SecretString) {
        let mut held = self.0.lock().await;
        if held.as_ref().is_some_and(|t| t.secret.expose_secret() == refused.expose_secret()) {
            *held = None;
        }
    }
}

/// The tokens in use; beyond [`MAX_TOKENS`] the one that was used longest ago goes.
#[derive(Default)]
pub(super) struct Cache(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    used: HashMap<Key, (u64, Arc<Slot>)>,
    clock: u64,
}

impl Cache {
    /// The place for a token.
    pub(super) fn slot(&self, key: Key) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.clock = slots.clock.saturating_add(1);
        let now = slots.clock;
        if slots.used.len() >= MAX_TOKENS && !slots.used.contains_key(&key) {
            let oldest = slots.used.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                slots.used.remove(&oldest);
            }
        }
        let (used, slot) = slots.used.entry(key).or_default();
        *used = now;
        Arc::clone(slot)
    }

    /// Forgets the tokens of a registry.
    pub(super) fn forget(&self, registry: &RegistryHost) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.used.retain(|key, _| key.registry != *registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn key(repository: &str) -> Key {
        let registry = RegistryHost {
            name: "r.io".to_owned(),
            endpoint: url::Url::parse("https://r.io/").unwrap(),
        };
        Key { registry, scope: Scope::pull(repository), credential: None }
    }

    fn token(secret: &str, asked: Instant, seconds: u64) -> Token {
        Token::new(SecretString::from(secret), asked, Duration::from_secs(seconds))
    }

    async fn get(slot: &Slot, now: Instant, refused: Option<&str>, next: Token) -> String {
        let refused = refused.map(SecretString::from);
        let got = slot.get(now, refused.as_ref(), async { Ok::<_, ()>(next) }).await;
        got.unwrap().expose_secret().to_owned()
    }

    #[tokio::test]
    async fn a_token_serves_until_shortly_before_it_expires() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let slot = Slot::default();
        assert_eq!(get(&slot, start, None, token("a", start, 60)).await, "a");
        assert_eq!(get(&slot, at(53), None, token("b", at(53), 60)).await, "a");
        assert_eq!(get(&slot, at(54), None, token("b", at(54), 60)).await, "b");
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_and_a_newer_one_kept() {
        let now = Instant::now();
        let slot = Slot::default();
        assert_eq!(get(&slot, now, None, token("a", now, 60)).await, "a");
        assert_eq!(get(&slot, now, Some("a"), token("b", now, 60)).await, "b");
        assert_eq!(get(&slot, now, Some("a"), token("c", now, 60)).await, "b");
        slot.forget(&SecretString::from("a")).await;
        assert_eq!(get(&slot, now, None, token("c", now, 60)).await, "b");
        slot.forget(&SecretString::from("b")).await;
        assert_eq!(get(&slot, now, None, token("c", now, 60)).await, "c");
    }

    #[tokio::test]
    async fn many_who_want_one_fetch_it_once() {
        let (slot, fetched, now) = (Slot::default(), AtomicUsize::new(0), Instant::now());
        let want = || {
            slot.get(now, None, async {
                tokio::task::yield_now().await;
                fetched.fetch_add(1, Ordering::Relaxed);
                Ok::<_, ()>(token("a", now, 60))
            })
        };
        futures_util::future::join_all((0..10).map(|_| want())).await;
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_cache_is_bounded() {
        let cache = Cache::default();
        let first = cache.slot(key("first"));
        let second = cache.slot(key("second"));
        for n in 0..MAX_TOKENS - 1 {
            assert!(Arc::ptr_eq(&first, &cache.slot(key("first"))));
            cache.slot(key(&n.to_string()));
        }
        assert_eq!(cache.0.lock().unwrap().used.len(), MAX_TOKENS);
        assert!(Arc::ptr_eq(&first, &cache.slot(key("first"))));
        assert!(!Arc::ptr_eq(&second, &cache.slot(key("second"))));
    }
}
