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

/// Gives up what this process never needs: core dumps, which would hold prompts and credentials (with
/// `core_dumps` they are wanted instead); being looked into by other processes of this user; programs
/// with more rights than their caller. All of it best effort; [`hardened`] says what holds. Threads
/// that exist already keep what they have, so it comes first.
pub fn harden(core_dumps: bool) {
    let hard = getrlimit(Resource::Core).maximum;
    let wanted = if core_dumps {
        Rlimit { current: hard, maximum: hard }
    } else {
        Rlimit { current: Some(0), maximum: Some(0) }
    };
    // What did not succeed is seen by whoever asks what holds.
    let _ = setrlimit(Resource::Core, wanted);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        if !core_dumps {
            let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        }
        let _ = rustix::thread::set_no_new_privs(true);
    }
}

/// What this process has given up, in words, as the kernel says it.
pub fn hardened() -> String {
    let cores = match getrlimit(Resource::Core).current {
        Some(0) => "no core dumps",
        _ => "core dumps allowed",
    };
    let mut parts = vec![cores];
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, dumpable_behavior};

        if matches!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable)) {
            parts.push("memory closed to other processes");
        }
        if matches!(rustix::thread::no_new_privs(), Ok(true)) {
            parts.push("no new privileges");
        }
    }
    parts.join(", ")
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
