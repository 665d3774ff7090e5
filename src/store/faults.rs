//! Lets calls to the operating system fail in tests, and writes down what was done to the disk.
//! What is set holds for the thread that set it.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::sys::Call;

/// What was done, for whoever wants to know what a power loss leaves of it.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    MakeDirs(PathBuf),
    Create(PathBuf),
    Write(PathBuf, Vec<u8>),
    SetLen(PathBuf, u64),
    SyncFile(PathBuf),
    SyncDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Default)]
struct Plan {
    calls: usize,
    fail: Option<(usize, Errno)>,
    effects: Vec<Effect>,
}

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

/// Ends the plan of this thread, also when a test fails.
pub(super) struct Faults(());

impl Faults {
    /// Only counts and writes down.
    pub(super) fn none() -> Self {
        Self::plan(Plan::default())
    }

    /// The `nth` call from now, counted from 0, fails.
    pub(super) fn fail(nth: usize, error: Errno) -> Self {
        Self::plan(Plan { fail: Some((nth, error)), ..Plan::default() })
    }

    fn plan(plan: Plan) -> Self {
        PLAN.with_borrow_mut(|current| *current = Some(plan));
        Self(())
    }

    pub(super) fn calls(&self) -> usize {
        PLAN.with_borrow(|plan| plan.as_ref().map_or(0, |plan| plan.calls))
    }

    pub(super) fn effects(&self) -> Vec<Effect> {
        PLAN.with_borrow(|plan| plan.as_ref().map(|plan| plan.effects.clone()).unwrap_or_default())
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        PLAN.with_borrow_mut(|plan| *plan = None);
    }
}

pub(super) fn before(_call: &Call<'_>) -> io::Result<()> {
    PLAN.with_borrow_mut(|plan| {
        let Some(plan) = plan else { return Ok(()) };
        let now = plan.calls;
        plan.calls += 1;
        match plan.fail {
            Some((nth, error)) if nth == now => Err(error.into()),
            _ => Ok(()),
        }
    })
}

pub(super) fn after(call: &Call<'_>) {
    let own = |path: &Path| path.to_owned();
    let effect = match call {
        Call::MakeDirs(path) => Effect::MakeDirs(own(path)),
        Call::Create(path) => Effect::Create(own(path)),
        Call::Write(path, bytes) => Effect::Write(own(path), bytes.to_vec()),
        Call::SetLen(path, bytes) => Effect::SetLen(own(path), *bytes),
        Call::SyncFile(path) => Effect::SyncFile(own(path)),
        Call::SyncDir(path) => Effect::SyncDir(own(path)),
        Call::Rename(from, to) => Effect::Rename(own(from), own(to)),
        Call::Link(from, to) => Effect::Link(own(from), own(to)),
        Call::Remove(path) => Effect::Remove(own(path)),
        Call::Open(_) | Call::Read(_) | Call::SetMode(_) => return,
    };
    PLAN.with_borrow_mut(|plan| {
        if let Some(plan) = plan {
            plan.effects.push(effect);
        }
    });
}
