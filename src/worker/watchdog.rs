//! A time limit for what cannot be interrupted: chat templates are programs, and the only way to
//! end one is to end the process.
//!
//! The limit is of processor time of the thread that works: on a machine that is busy, stopped or
//! asleep a healthy template takes long by the clock, and is left alone. What waits for ever instead
//! of computing is ended by the clock, after [`PATIENCE`] times the limit.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::thread_clock::ThreadClock;
use crate::protocol::ToDaemon;

/// How often its limit something may take by the clock, and the only limit where the system does not
/// say what a thread has computed.
const PATIENCE: u32 = 12;

/// The part of a limit after which the watchdog looks for the first time: what is done by then, which
/// is nearly everything, costs it no look.
const FIRST_LOOK: u32 = 10;

/// Looks are at least so far apart: the system counts processor time in ticks of about so long.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// Watches one thing at a time.
pub struct Watchdog {
    signals: Sender<Signal>,
}

enum Signal {
    Watch { clock: ThreadClock, limit: Duration, last_words: Box<ToDaemon> },
    Done,
}

impl Watchdog {
    /// Starts the watching thread. `expire` is called with the last words of what took too long,
    /// and is expected to end the process.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(expire: impl Fn(ToDaemon) + Send + 'static) -> io::Result<Self> {
        let (signals, incoming) = mpsc::channel();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || run(&incoming, expire))?;
        Ok(Self { signals })
    }

    /// Runs `work`, which stays on this thread; after `limit` of processor time the watchdog expires
    /// with `last_words`.
    pub fn watch<T>(&self, limit: Duration, last_words: ToDaemon, work: impl FnOnce() -> T) -> T {
        let clock = ThreadClock::of_this_thread();
        // The thread ends only with this value.
        let _ = self.signals.send(Signal::Watch { clock, limit, last_words: Box::new(last_words) });
        let out = work();
        let _ = self.signals.send(Signal::Done);
        out
    }
}

fn run(signals: &Receiver<Signal>, expire: impl Fn(ToDaemon)) {
    while let Ok(signal) = signals.recv() {
        let Signal::Watch { clock, limit, last_words } = signal else { continue };
        let mut budget = Budget::new(limit);
        loop {
            match signals.recv_timeout(budget.wait()) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            budget.look(clock.computed());
            if budget.is_spent() {
                expire(*last_words);
                break;
            }
        }
    }
}

/// What a piece of work may still take.
struct Budget {
    limit: Duration,
    /// What its thread had computed when it was looked at first.
    begun: Option<Duration>,
    /// Since then.
    computed: Duration,
    /// By the clock, but no more than was waited for: a process that was stopped, or waited long
    /// for a processor, did nothing meanwhile.
    waited: Duration,
    next: Duration,
}

impl Budget {
    fn new(limit: Duration) -> Self {
        let (begun, computed, waited) = (None, Duration::ZERO, Duration::ZERO);
        Self { limit, begun, computed, waited, next: limit / FIRST_LOOK }
    }

    /// How long to wait before the next look.
    fn wait(&self) -> Duration {
        self.next
    }

    /// Takes in what the thread has computed in all; `None`: nobody knows.
    fn look(&mut self, computed: Option<Duration>) {
        self.waited = self.waited.saturating_add(self.next);
        if let Some(computed) = computed {
            let begun = *self.begun.get_or_insert(computed);
            self.computed = computed.saturating_sub(begun);
        }
        // It cannot have spent what is left any sooner.
        let left = self.limit.saturating_sub(self.computed);
        self.next = left.clamp(SHORTEST_WAIT, self.limit.max(SHORTEST_WAIT));
    }

    fn is_spent(&self) -> bool {
        self.computed >= self.limit || self.waited >= self.limit.saturating_mul(PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JobId;

    const LIMIT: Duration = Duration::from_secs(5);
    const WORDS: ToDaemon = ToDaemon::Released { job: JobId(7) };

    /// Looks at a thread that computes `share` of the time until its budget is spent; answers how
    /// long that took by the clock.
    fn spends(share: f64) -> Duration {
        let (mut budget, mut clock) = (Budget::new(LIMIT), Duration::ZERO);
        while !budget.is_spent() {
            clock += budget.wait();
            budget.look(Some(clock.mul_f64(share)));
        }
        clock
    }

    #[test]
    fn the_limit_is_what_was_computed() {
        // One that never rests has its limit, and what passed before the first look.
        assert_eq!(spends(1.0), LIMIT + LIMIT / FIRST_LOOK);
        // With a quarter of a processor it takes four times as long by the clock.
        let quarter = spends(0.25);
        assert!(quarter > LIMIT * 4 && quarter < LIMIT * 5, "{quarter:?}");
        // What waits for ever, or on a system that does not say, ends all the same.
        let stuck = spends(0.0);
        assert!(stuck >= LIMIT * PATIENCE && stuck <= LIMIT * (PATIENCE + 1), "{stuck:?}");
        let mut unknown = Budget::new(LIMIT);
        let looks = (0..100).take_while(|_| {
            unknown.look(None);
            !unknown.is_spent()
        });
        // The first look comes early and counts for little.
        assert_eq!(looks.count(), PATIENCE as usize);
    }

    /// While it was stopped, hours passed by the clock; for the budget it was one wait.
    #[test]
    fn a_machine_that_slept_has_used_nothing_up() {
        let mut budget = Budget::new(LIMIT);
        for _ in 0..3 {
            budget.look(Some(Duration::from_millis(7)));
        }
        assert!(!budget.is_spent());
        assert!(budget.waited < LIMIT * 3, "{:?}", budget.waited);
    }

    #[test]
    fn work_that_waits_is_left_alone_and_work_that_computes_is_not() {
        let (said, heard) = mpsc::channel();
        let watchdog = Watchdog::start(move |words| drop(said.send(words))).expect("a thread");
        let limit = Duration::from_millis(200);
        if cfg!(target_os = "linux") {
            // By the clock this is twice the limit.
            let nothing = watchdog.watch(limit, WORDS, || heard.recv_timeout(limit * 2));
            assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
        }
        let words = watchdog.watch(limit, WORDS, || {
            loop {
                if let Ok(words) = heard.try_recv() {
                    return words;
                }
            }
        });
        assert_eq!(words, WORDS);
    }

    #[test]
    fn work_over_its_limit_expires_with_its_last_words() {
        let (said, heard) = mpsc::channel();
        let watchdog = Watchdog::start(move |words| drop(said.send(words))).expect("a thread");
        // The work ends only once the watchdog has spoken.
        let words = watchdog.watch(Duration::from_millis(5), WORDS, || heard.recv());
        assert_eq!(words, Ok(WORDS));
    }

    #[test]
    fn work_within_its_limit_is_left_alone() {
        let (said, heard) = mpsc::channel();
        let watchdog = Watchdog::start(move |words| drop(said.send(words))).expect("a thread");
        assert_eq!(watchdog.watch(Duration::from_secs(600), WORDS, || 1), 1);
        assert_eq!(watchdog.watch(Duration::from_secs(600), WORDS, || 2), 2);
        drop(watchdog);
        // The sender is dropped with the thread, which ends because nobody can ask it any more.
        assert_eq!(heard.recv(), Err(mpsc::RecvError));
    }
}
