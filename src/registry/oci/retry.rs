use std::time::Duration;

use crate::registry::{FetchError, Retry};

/// How often and how patiently passing faults are tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Tries in all.
    pub tries: u32,
    /// The first pause; each further one is twice as long.
    pub pause: Duration,
    /// The longest time that is waited because a registry said so; it is asked no earlier, so a
    /// longer one ends the matter.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 4, pause: Duration::from_millis(250), longest: Duration::from_secs(20) }
    }
}

impl Patience {
    /// How long to wait after this fault on the `tried`th try (from 1); `None` where it is final.
    pub fn after(&self, error: &FetchError, tried: u32) -> Option<Duration> {
        if tried >= self.tries {
            return None;
        }
        let doubled = self.pause.saturating_mul(1 << tried.saturating_sub(1).min(16));
        // Many clients that failed at one moment do not come back at one moment.
        let jittered = doubled.mul_f64(fastrand::f64() + 0.5);
        match error.retry {
            Retry::Never => None,
            Retry::Soon => Some(jittered),
            Retry::After(asked) if asked <= self.longest => Some(asked.max(jittered)),
            Retry::After(_) => None,
        }
    }
}

/// Tries until it works or a fault is final.
pub(super) async fn patiently<T, F>(
    patience: Patience,
    attempt: impl Fn() -> F,
) -> Result<T, FetchError>
where
    F: Future<Output = Result<T, FetchError>>,
{
    let mut tried = 1;
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let Some(pause) = patience.after(&error, tried) else { return Err(error) };
        tracing::debug!(%error, ?pause, tried, "a registry's fault may pass");
        tokio::time::sleep(pause).await;
        tried = tried.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ErrorKind;

    #[test]
    fn faults_are_tried_again_as_long_as_it_helps() {
        let patience = Patience::default();
        let error = |retry| FetchError { retry, ..FetchError::passing("x") };
        let fatal = FetchError::fatal(ErrorKind::RegistryInvalid, "x");
        assert_eq!(patience.after(&fatal, 1), None);
        let soon = error(Retry::Soon);
        for tried in 1..4 {
            let pause = patience.after(&soon, tried).unwrap();
            let middle = patience.pause * (1 << (tried - 1));
            assert!(pause >= middle / 2 && pause <= middle * 3 / 2, "{tried}: {pause:?}");
        }
        assert_eq!(patience.after(&soon, 4), None);
        let asked = Duration::from_secs(19);
        assert_eq!(patience.after(&error(Retry::After(asked)), 1), Some(asked));
        assert_eq!(patience.after(&error(Retry::After(Duration::from_secs(21))), 1), None);
    }
}
