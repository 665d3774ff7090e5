use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::testing::Shelf;
use super::*;
use crate::domain::{
    ClientKey, Error, ErrorKind, GenerateRequest, Prompt, TransferEvent, TransferPlan,
};
use crate::engine::scripted::ScriptedFactory;
use crate::gguf::testing::Writer;
use crate::models::Models;
use crate::scheduler::{Scheduler, SchedulerConfig};
use crate::service::{Caller, ModelSettings, Service};
use crate::store::Store;

const A: &str = "docker.io/ai/a:latest";
const B: &str = "docker.io/ai/b:latest";

struct Desk {
    service: Service,
    shelf: Arc<Shelf>,
    _dir: tempfile::TempDir,
}

async fn desk() -> Desk {
    let shelf = Shelf::of(&Writer::tiny(), &[A, B]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&dir.path().join("models")).expect("a store");
    let models = Models::new(store).with_registry(shelf.clone());
    let scheduler =
        Scheduler::start(Arc::new(ScriptedFactory::answering(["Hi"])), SchedulerConfig::default());
    Desk { service: Service::new(models, scheduler), shelf, _dir: dir }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("in time")
}

impl Desk {
    async fn pull(&self, name: &str) -> Transfer {
        within(self.service.pull(name, None)).await.expect("a transfer")
    }

    /// Waits until no transfer is left.
    async fn idle(&self) {
        let left = async {
            while !self.service.transfers().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        within(left).await;
    }
}

/// Reads until something of a layer is there.
async fn moving(transfer: &mut Transfer) -> TransferEvent {
    loop {
        match within(transfer.next()).await.expect("not over") {
            Step::Event(event @ TransferEvent::Layer(_)) => return event,
            Step::Event(_) => {}
            Step::Ended(end) => panic!("{end:?}"),
        }
    }
}

fn cached(end: crate::domain::Result<Moved>) -> bool {
    match end.expect("a good end") {
        Moved::Pulled(pulled) => pulled.cached,
        Moved::Pushed => panic!("that was a push"),
    }
}

fn kind<T>(result: crate::domain::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind
}

#[tokio::test]
async fn a_pull_says_what_it_will_move_and_ends_with_the_model_in_the_store() {
    let desk = desk().await;
    let mut first = desk.pull("ai/a").await;
    let Some(Step::Event(TransferEvent::Planned(plan))) = within(first.next()).await else {
        panic!("no plan")
    };
    assert_eq!(kind(desk.service.inspect("ai/a").await), ErrorKind::ModelNotFound);
    desk.shelf.let_all_pass();
    moving(&mut first).await;
    assert!(!cached(within(first.finish()).await));
    let entry = desk.service.inspect("ai/a").await.expect("the model");
    assert_eq!((Some(entry.id), entry.tags), (plan.id, vec![A.to_owned()]));
    desk.idle().await;
    assert!(cached(within(desk.pull("a").await.finish()).await));
}

#[tokio::test]
async fn a_second_client_joins_and_sees_where_it_is() {
    let desk = desk().await;
    let mut first = desk.pull("ai/a").await;
    desk.shelf.let_pass(2);
    moving(&mut first).await;
    let mut second = desk.pull("docker.io/ai/a:latest").await;
    let planned = within(second.next()).await;
    assert!(matches!(planned, Some(Step::Event(TransferEvent::Planned(_)))), "{planned:?}");
    moving(&mut second).await;
    let [info] = desk.service.transfers().try_into().expect("one transfer");
    assert_eq!((info.watchers, info.detached, info.reference.as_str()), (2, false, A));
    assert!(info.current > 0 && info.current < info.total, "{info:?}");
    // The first may leave: the second still wants it.
    drop(first);
    desk.shelf.let_all_pass();
    assert!(!cached(within(second.finish()).await));
    assert_eq!((desk.shelf.opened(), desk.shelf.resolved.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn nobody_joins_whom_the_registry_does_not_let() {
    let desk = desk().await;
    desk.shelf.want_token("right");
    let right = || Some("right".to_owned().into());
    let _first = within(desk.service.pull("ai/a", right())).await.expect("a transfer");
    for token in [None, Some("wrong".to_owned().into())] {
        let refused = within(desk.service.pull("ai/a", token)).await;
        assert_eq!(kind(refused), ErrorKind::RegistryUnauthorized);
    }
    within(desk.service.pull("ai/a", right())).await.expect("a transfer");
}

#[tokio::test]
async fn the_last_watcher_takes_the_pull_along_unless_it_is_detached() {
    let desk = desk().await;
    let mut left = desk.pull("ai/a").await;
    desk.shelf.let_pass(1);
    moving(&mut left).await;
    drop(left);
    desk.idle().await;
    desk.shelf.let_all_pass();
    assert_eq!(kind(desk.service.inspect("ai/a").await), ErrorKind::ModelNotFound);

    let detached = desk.pull("ai/a").await;
    detached.detach();
    drop(detached);
    desk.idle().await;
    desk.service.inspect("ai/a").await.expect("the model");
}

#[tokio::test]
async fn who_comes_after_the_last_one_left_begins_anew() {
    let desk = desk().await;
    let mut first = desk.pull("ai/a").await;
    desk.shelf.let_pass(1);
    moving(&mut first).await;
    let second = desk.pull("ai/a").await;
    drop(first);
    drop(second);
    // The one that is being stopped may still be there; it must not be joined.
    let third = desk.pull("ai/a").await;
    desk.shelf.let_all_pass();
    assert!(!cached(within(third.finish()).await));
}

#[tokio::test]
async fn more_pulls_than_may_run_wait_and_say_so() {
    let mut desk = desk().await;
    desk.service = desk.service.clone().with_max_pulls(NonZeroUsize::MIN);
    let mut first = desk.pull("ai/a").await;
    desk.shelf.let_pass(1);
    moving(&mut first).await;
    let mut second = desk.pull("ai/b").await;
    let status = loop {
        match within(second.next()).await {
            Some(Step::Event(TransferEvent::Status(text))) => break text,
            Some(Step::Event(TransferEvent::Planned(_))) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(status, "waiting for 1 other pull; 1 at once may run");
    assert_eq!(desk.shelf.opened(), 1);
    desk.shelf.let_all_pass();
    within(first.finish()).await.expect("a good end");
    within(second.finish()).await.expect("a good end");
}

#[tokio::test]
async fn what_is_there_already_waits_for_nobody() {
    let mut desk = desk().await;
    desk.service = desk.service.clone().with_max_pulls(NonZeroUsize::MIN);
    desk.shelf.let_all_pass();
    within(desk.pull("ai/a").await.finish()).await.expect("a good end");
    let job = (Direction::Pull, "busy".to_owned(), TransferPlan::default());
    let busy = desk.service.transfers.join_or_start(job, false, |_| std::future::pending());
    assert!(cached(within(desk.pull("ai/a").await.finish()).await));
    drop(busy);
}

#[tokio::test]
async fn a_cancelled_pull_tells_its_watchers() {
    let desk = desk().await;
    let transfer = desk.pull("ai/a").await;
    assert_eq!(kind(desk.service.cancel_transfer("ai/b")), ErrorKind::NotFound);
    let cancelled = desk.service.cancel_transfer("a").expect("one transfer");
    assert_eq!(cancelled.len(), 1);
    assert_eq!(kind(within(transfer.finish()).await), ErrorKind::Cancelled);
    desk.idle().await;
}

#[tokio::test]
async fn a_daemon_that_stops_ends_them_all_and_begins_none() {
    let desk = desk().await;
    let transfer = desk.pull("ai/a").await;
    within(desk.service.all_transfers().close()).await;
    assert_eq!(desk.service.transfers(), []);
    assert_eq!(kind(within(transfer.finish()).await), ErrorKind::ShuttingDown);
    assert_eq!(kind(within(desk.service.pull("ai/a", None)).await), ErrorKind::ShuttingDown);
}

#[tokio::test]
async fn a_panic_is_an_end_too() {
    let desk = desk().await;
    let job = (Direction::Pull, "x".to_owned(), TransferPlan::default());
    let transfer = desk.service.transfers.join_or_start(job, false, |_| async {
        assert!(std::hint::black_box(false), "on purpose");
        Ok(Moved::Pushed)
    });
    let end = within(transfer.expect("a job").finish()).await;
    assert_eq!(kind(end), ErrorKind::Internal);
    desk.idle().await;
}

#[tokio::test]
async fn a_layer_that_breaks_off_ends_the_pull_for_all() {
    let desk = desk().await;
    desk.shelf.break_off(Error::new(ErrorKind::RegistryInvalid, "not what was promised"));
    let (first, second) = (desk.pull("ai/a").await, desk.pull("ai/b").await);
    desk.shelf.let_all_pass();
    assert_eq!(kind(within(first.finish()).await), ErrorKind::RegistryInvalid);
    assert_eq!(kind(within(second.finish()).await), ErrorKind::RegistryInvalid);
    assert_eq!(kind(desk.service.inspect("ai/a").await), ErrorKind::ModelNotFound);
}

#[tokio::test]
async fn ids_cannot_be_pulled_and_only_tags_pushed() {
    let desk = desk().await;
    let id = format!("sha256:{}", "a".repeat(64));
    for name in [id.as_str(), "../x", ""] {
        let refused = desk.service.pull(name, None).await;
        assert_eq!(kind(refused), ErrorKind::InvalidReference, "{name}");
    }
    for name in [id.clone(), format!("ai/a@{id}"), "0123456789ab".to_owned()] {
        let refused = desk.service.push(&name, None).await;
        assert_eq!(kind(refused), ErrorKind::InvalidReference, "{name}");
    }
    assert_eq!(kind(desk.service.push("ai/a", None).await), ErrorKind::ModelNotFound);
}

#[tokio::test]
async fn a_push_is_watched_and_joined_like_a_pull() {
    let desk = desk().await;
    desk.shelf.let_all_pass();
    within(desk.pull("ai/a").await.finish()).await.expect("a good end");
    desk.shelf.hold_up();
    let first = desk.service.push("ai/a", None).await.expect("a transfer");
    let second = desk.service.push("a:latest", None).await.expect("a transfer");
    desk.shelf.let_all_pass();
    let ends = tokio::join!(within(first.finish()), within(second.finish()));
    assert_eq!(ends, (Ok(Moved::Pushed), Ok(Moved::Pushed)));
    assert_eq!(*desk.shelf.pushed.lock().expect("unpoisoned"), [A]);
    desk.shelf.want_token("right");
    let refused = desk.service.push("ai/a", None).await.expect("a transfer");
    assert_eq!(kind(within(refused.finish()).await), ErrorKind::RegistryUnauthorized);
}

fn ask() -> (Caller, GenerateRequest) {
    let caller =
        Caller { client: ClientKey("test".into()), deadline: None, wishes: Default::default() };
    (caller, GenerateRequest::new(Prompt::Text("Hi".into())))
}

#[tokio::test]
async fn a_request_pulls_only_where_the_settings_say_so() {
    let mut desk = desk().await;
    desk.shelf.let_all_pass();
    let (caller, request) = ask();
    let missing = desk.service.generate(caller, "ai/a", request).await.expect_err("missing");
    assert_eq!(missing.kind, ErrorKind::ModelNotFound);
    assert!(missing.message.ends_with("`modeld pull ai/a` gets it"), "{missing}");
    let settings = ModelSettings { auto_pull: true, ..ModelSettings::default() };
    desk.service = desk.service.clone().with_settings(settings);
    let (caller, request) = ask();
    within(desk.service.generate(caller, "ai/a", request)).await.expect("an answer");
    let (caller, request) = ask();
    let missing = within(desk.service.generate(caller, "ai/none", request)).await;
    assert_eq!(kind(missing), ErrorKind::RegistryNotFound);
}

#[tokio::test]
async fn a_pull_for_a_request_ends_when_the_answer_is_of_no_use() {
    let mut desk = desk().await;
    let settings = ModelSettings { auto_pull: true, ..ModelSettings::default() };
    desk.service = desk.service.clone().with_settings(settings);
    let (mut caller, request) = ask();
    caller.deadline = Some(std::time::Instant::now());
    let late = within(desk.service.generate(caller, "ai/a", request)).await;
    assert_eq!(kind(late), ErrorKind::DeadlineExceeded);
    desk.idle().await;
}

#[tokio::test]
async fn the_registry_s_own_view_moves_nothing() {
    let desk = desk().await;
    let remote = within(desk.service.remote_inspect("ai/a", None)).await.expect("an entry");
    assert!(remote.tags.is_empty() && !remote.config.architecture.is_empty(), "{remote:?}");
    assert_eq!(desk.shelf.opened(), 0);
    let missing = within(desk.service.remote_inspect("ai/none", None)).await;
    assert_eq!(kind(missing), ErrorKind::RegistryNotFound);
}
