//! What the service manager is told, in the protocol of `sd_notify(3)`. Without a manager every
//! call does nothing; one that fails is logged and changes nothing.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use super::places::Places;
use crate::scheduler::{Scheduler, Snapshot};

/// The least time between two lines about what the daemon does.
const BETWEEN_STATUS: Duration = Duration::from_secs(1);

/// Connections are served from now on.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What the daemon does, for `systemctl status`.
pub(super) fn status(text: &str) {
    send(&[NotifyState::Status(text)]);
}

/// Settings are being read again; [`reloaded`] has to follow. Says when it began, as `sd_notify(3)`
/// wants it of `Type=notify-reload`; our own units are of `Type=notify`, which every systemd knows
/// (the other came with 253, and an older one takes such a unit for one of `Type=simple`), and
/// managers pass over what they do not know.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no clock to tell a reload with"),
    }
}

/// The end of what [`reloading`] began, however it went. What the daemon does is said elsewhere.
pub(super) fn reloaded() {
    send(&[NotifyState::Ready]);
}

/// The end has begun and may take this long, also where that is longer than the unit's
/// `TimeoutStopSec=`, after which the manager would kill us (`EXTEND_TIMEOUT_USEC=`).
pub(super) fn stopping(status: &str, at_most: Duration) {
    let extended = format!("EXTEND_TIMEOUT_USEC={}", at_most.as_micros());
    send(&[NotifyState::Stopping, NotifyState::Status(status), NotifyState::Custom(&extended)]);
}

/// Has a socket kept for the next start, which finds it under `name`. The manager drops what goes
/// beyond the unit's `FileDescriptorStoreMax=` without a word.
pub(super) fn store(name: &str, socket: BorrowedFd<'_>) {
    // It listens for ever; a manager that watches it for its end would watch for nothing.
    let unwatched = NotifyState::Custom("FDPOLL=0");
    let state = [NotifyState::FdStore, NotifyState::FdName(name), unwatched];
    if let Err(error) = sd_notify::notify_with_fds(&state, &[socket]) {
        tracing::debug!(%error, name, "the service manager could not be given a socket");
    }
}

/// Has what is kept under `name` closed.
pub(super) fn forget(name: &str) {
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

/// Tells it at most once a second what the daemon does, whenever that changes. Never returns.
pub(super) async fn tell_of(scheduler: Scheduler, places: Places) {
    let (mut changes, mut moves) = (scheduler.changes(), places.moves());
    let mut last = String::new();
    loop {
        let text = format!("{}; {}", describe(&changes.borrow_and_update()), places.text());
        if text != last {
            status(&text);
            last = text;
            tokio::time::sleep(BETWEEN_STATUS).await;
        }
        let changed = tokio::select! {
            changed = changes.changed() => changed,
            moved = moves.changed() => moved,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Tells it twice per watchdog interval that the runtime still turns. Returns at once where no
/// watchdog is asked for, never otherwise.
pub(super) async fn watchdog() {
    let Some(half) = sd_notify::watchdog_enabled().and_then(|d| d.checked_div(2)) else {
        return;
    };
    if half.is_zero() {
        return;
    }
    let mut tick = tokio::time::interval(half);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        send(&[NotifyState::Watchdog]);
    }
}

fn describe(snapshot: &Snapshot) -> String {
    let models = &snapshot.models;
    let loading = models.iter().filter(|model| model.loading.is_some()).count();
    let loaded = models.len().saturating_sub(loading);
    let running = models.iter().fold(0, |sum: u32, model| sum.saturating_add(model.running));
    let waiting = models.iter().fold(0, |sum: u32, model| sum.saturating_add(model.waiting));
    let some = |count: usize| match count {
        1 => "1 model".to_owned(),
        count => format!("{count} models"),
    };
    let mut text = match (loaded, loading) {
        (0, 0) => return "no model loaded".to_owned(),
        (loaded, 0) => format!("{} loaded", some(loaded)),
        (0, loading) => format!("loading {}", some(loading)),
        (loaded, loading) => format!("{} loaded, loading {loading} more", some(loaded)),
    };
    if running > 0 || waiting > 0 {
        text.push_str(&format!(", requests: {running} running, {waiting} waiting"));
    }
    text
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::domain::Digest;
    use crate::protocol::Purpose;
    use crate::scheduler::LoadedModel;

    fn model(loading: Option<f32>, running: u32, waiting: u32) -> LoadedModel {
        LoadedModel {
            id: Digest::of(b"x"),
            name: "m".into(),
            purpose: Purpose::Generate,
            loading,
            info: None,
            pid: None,
            sandbox: String::new(),
            memory_bytes: 0,
            running,
            waiting,
            last_used: SystemTime::UNIX_EPOCH,
            expires: None,
            keep_alive: None,
        }
    }

    #[test]
    fn the_status_counts_models_and_requests() {
        for (models, text) in [
            (vec![], "no model loaded"),
            (vec![model(None, 0, 0)], "1 model loaded"),
            (vec![model(Some(0.5), 0, 2)], "loading 1 model, requests: 0 running, 2 waiting"),
            (
                vec![model(None, 3, 0), model(None, 1, 1), model(Some(0.1), 0, 1)],
                "2 models loaded, loading 1 more, requests: 4 running, 2 waiting",
            ),
        ] {
            assert_eq!(describe(&Snapshot { models }), text);
        }
    }
}
