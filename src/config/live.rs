use std::sync::{Arc, PoisonError, RwLock};

/// A value that may change while the daemon runs: clones are the same one. Whoever uses it asks each
/// time.
#[derive(Debug, Default)]
pub struct Live<T>(Arc<RwLock<T>>);

impl<T: Clone> Live<T> {
    /// One that starts with `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }

    /// What holds now.
    pub fn get(&self) -> T {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What holds from now on.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::Live;

    #[test]
    fn clones_see_what_is_set() {
        let one = Live::new(1);
        let other = one.clone();
        one.set(2);
        assert_eq!(other.get(), 2);
    }
}
