use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// macOS refuses a soft limit over this one (`OPEN_MAX`) however high the hard limit is.
const FALLBACK: u64 = 10_240;

/// Raises the soft limit of open descriptors to the hard one: every connection on the socket
/// needs one, and nothing here uses `select`. Returns the limit that holds; `None` is unlimited.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, wanted).is_err() {
        let fallback = Rlimit { current: Some(FALLBACK), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, fallback) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
    }
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let now = raise_descriptor_limit();
        assert!(now == hard || now == Some(FALLBACK), "{now:?} of {hard:?}");
    }
}
