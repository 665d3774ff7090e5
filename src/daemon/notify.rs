use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

/// Tells the service manager that connections are served from now on.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells it that the settings are being read again, until [`ready`] says that this is over.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock"),
    }
}

/// Tells it that the end has begun.
pub(super) fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(status)]);
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

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
