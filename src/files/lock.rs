use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::replace::{directory, make_private_dir};

/// How long to wait for others: a change takes milliseconds, but where the directory can be read,
/// anybody may hold its lock for ever.
const OTHERS: Duration = Duration::from_secs(3);

/// How often to try meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Holds off other programs that change the same files, until dropped.
#[derive(Debug)]
pub struct ChangeLock(#[expect(dead_code, reason = "the lock goes with it")] File);

/// Takes the lock of a file that is going to be read and replaced: that of its directory, since the
/// file itself is another one afterwards. Makes the directory, for its owner alone. Blocks for three
/// seconds at most.
///
/// # Errors
/// Those of the file system, and [`io::ErrorKind::WouldBlock`] where another one holds the lock.
pub fn lock_for_change(path: &Path) -> io::Result<ChangeLock> {
    let name = directory(path);
    make_private_dir(name)?;
    let dir = File::open(name)?;
    let start = Instant::now();
    loop {
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(ChangeLock(dir)),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if start.elapsed() < OTHERS => pause(),
            Err(Errno::WOULDBLOCK) => {
                let text = format!(
                    "another program has held the lock of {} for {} s; end it and try again",
                    name.display(),
                    OTHERS.as_secs()
                );
                return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
            }
            Err(other) => return Err(other.into()),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a lock with a limit of time tells nobody of its end"
)]
fn pause() {
    std::thread::sleep(TRY_AGAIN);
}
