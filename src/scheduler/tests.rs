//! The scheduler as its callers see it, over scripted engines and paused time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::domain::{
    ClientKey, Delta, Digest, Error, ErrorKind, Event, GenerateRequest, Limits, Outcome, Prompt,
    Result, Wishes,
};
use crate::engine::scripted::{Control, Script, ScriptedFactory};
use crate::protocol::{LoadSpec, Purpose};

/// Long enough for everything that needs no waiting, with time standing still.
const SOON: Duration = Duration::from_millis(1);

mod keeping;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn config() -> SchedulerConfig {
    SchedulerConfig { keep_alive: None, ..SchedulerConfig::default() }
}

fn start(factory: &ScriptedFactory) -> (Scheduler, Control) {
    (Scheduler::start(Arc::new(factory.clone()), config()), factory.control())
}

fn model(name: &str) -> Runnable {
    Runnable {
        id: Digest::of(name.as_bytes()),
        name: name.into(),
        spec: LoadSpec {
            purpose: Purpose::Generate,
            name: name.into(),
            weights: "/none".into(),
            mmproj: None,
            chat_template: None,
            adapters: vec![],
            readable: Vec::new(),
            context_size: 4096,
            max_sequences: 8,
            threads: 1,
        },
        memory_bytes: 60,
        keep_alive: None,
        revision: 0,
        lease: Arc::new(()),
    }
}

fn ask(client: &str, prompt: &str) -> Submission {
    Submission {
        model: model("m"),
        request: GenerateRequest {
            limits: Limits { max_tokens: Some(64), ..Limits::default() },
            ..GenerateRequest::new(Prompt::Text(prompt.into()))
        },
        client: ClientKey(client.into()),
        deadline: None,
        wishes: Wishes::default(),
    }
}

async fn submit(scheduler: &Scheduler) -> Generation {
    scheduler.submit(ask("a", "hi")).await.expect("a place")
}

/// Reads to the end: text and how it ended.
async fn finish(generation: Generation) -> (String, Result<Outcome>) {
    let events: Vec<_> = generation.collect().await;
    let mut text = String::new();
    for event in events {
        match event {
            Ok(Event::Delta { delta: Delta::Content(piece), .. }) => text.push_str(&piece),
            Ok(Event::Finished(outcome)) => return (text, Ok(outcome)),
            Ok(_) => {}
            Err(error) => return (text, Err(error)),
        }
    }
    panic!("the stream ended without a last event after {text:?}");
}

async fn failure(generation: Generation) -> ErrorKind {
    finish(generation).await.1.expect_err("an error").kind
}

/// What is in the stream now.
fn pending(generation: &mut Generation) -> Vec<Event> {
    let next = || generation.next().now_or_never().flatten();
    std::iter::from_fn(next).map(|event| event.expect("an event")).collect()
}

fn crash() -> Error {
    Error::new(ErrorKind::EngineCrashed, "signal 6")
}

#[tokio::test(start_paused = true)]
async fn ten_requests_share_one_load() {
    let factory = ScriptedFactory::answering(["Hel", "lo"]).load_time(secs(4));
    let (scheduler, control) = start(&factory);
    let mut generations = Vec::new();
    for _ in 0..10 {
        generations.push(submit(&scheduler).await);
    }
    for generation in generations {
        let (text, outcome) = finish(generation).await;
        assert_eq!(text, "Hello");
        let timings = outcome.expect("an end").timings;
        assert!((timings.load_ms - 4000.0).abs() < 50.0, "{timings:?}");
        assert!(timings.queue_ms >= timings.load_ms, "{timings:?}");
    }
    assert_eq!(control.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_load_hears_how_far_it_is() {
    let factory = ScriptedFactory::answering(["x"]).load_time(secs(4));
    let (scheduler, _) = start(&factory);
    let mut generation = submit(&scheduler).await;
    assert_eq!(generation.queue_position(), 1);
    sleep(Duration::from_millis(2500)).await;
    let events = pending(&mut generation);
    assert!(events.contains(&Event::Loading { fraction: 0.5 }), "{events:?}");
    assert!(events.contains(&Event::Waiting { position: 0 }), "{events:?}");
    let snapshot = scheduler.snapshot();
    assert_eq!((snapshot.models[0].loading, snapshot.models[0].waiting), (Some(0.5), 1));
    generation.ready(None).await.expect("a start");
    let snapshot = scheduler.snapshot();
    assert_eq!(snapshot.models[0].info.as_ref().map(|info| info.max_sequences), Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_fails_all_who_wait_for_it() {
    let error = Error::new(ErrorKind::InvalidModel, "no such architecture");
    let factory =
        ScriptedFactory::answering(["x"]).load_time(secs(1)).failing_loads([error.clone()]);
    let (scheduler, control) = start(&factory);
    let (mut a, b) = (submit(&scheduler).await, submit(&scheduler).await);
    assert_eq!(a.ready(None).await, Err(error.clone()));
    assert_eq!(finish(b).await.1, Err(error));
    assert_eq!(finish(submit(&scheduler).await).await.0, "x");
    assert_eq!(control.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_nobody_waits_for_any_more_is_cancelled() {
    let factory = ScriptedFactory::answering(["x"]).holding_loads();
    let (scheduler, control) = start(&factory);
    let generations = (submit(&scheduler).await, submit(&scheduler).await);
    drop(generations.0);
    sleep(SOON).await;
    assert_eq!(scheduler.snapshot().models.len(), 1);
    drop(generations.1);
    sleep(SOON).await;
    assert!(scheduler.snapshot().models.is_empty());
    let again = submit(&scheduler).await;
    sleep(SOON).await;
    assert_eq!(control.loads(), 2);
    control.finish_load();
    assert_eq!(finish(again).await.0, "x");
}

#[tokio::test(start_paused = true)]
async fn the_place_of_a_running_request_is_free_when_the_engine_has_let_go() {
    let factory = ScriptedFactory::choosing(|prompt| match prompt {
        Prompt::Text(text) if text == "hang" => Script { hang: true, ..Script::default() },
        _ => Script::answering(["x"]),
    })
    .max_sequences(1);
    let (scheduler, control) = start(&factory);
    let mut first = scheduler.submit(ask("a", "hang")).await.expect("a place");
    first.ready(None).await.expect("a start");
    let mut second = submit(&scheduler).await;
    control.hold_places();
    drop(first);
    assert_eq!(timeout(secs(9), second.ready(None)).await.ok(), None, "started too early");
    assert_eq!(control.live(), 0);
    control.release();
    assert_eq!(finish(second).await.0, "x");
}

#[tokio::test(start_paused = true)]
async fn the_place_of_a_waiting_request_is_free_when_the_engine_has_let_go() {
    let factory = ScriptedFactory::answering(["x"]).max_sequences(1).by_hand();
    let config = SchedulerConfig { max_waiting: 1, ..config() };
    let scheduler = Scheduler::start(Arc::new(factory.clone()), config);
    let control = factory.control();
    let mut running = submit(&scheduler).await;
    running.ready(None).await.expect("a start");
    let waiting = submit(&scheduler).await;
    sleep(SOON).await;
    control.hold_places();
    drop(waiting);
    sleep(SOON).await;
    assert_eq!(scheduler.snapshot().models[0].waiting, 0);
    assert!(scheduler.submit(ask("a", "hi")).await.is_err());
    control.release();
    sleep(SOON).await;
    assert!(scheduler.submit(ask("a", "hi")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let script = Script { piece_delay: secs(6), ..Script::answering(["x"]) };
    let factory = ScriptedFactory::new(script).max_sequences(2);
    let config = SchedulerConfig { max_waiting: 3, ..config() };
    let scheduler = Scheduler::start(Arc::new(factory), config);
    finish(submit(&scheduler).await).await.1.expect("a measurement");
    let mut running = Vec::new();
    for _ in 0..5 {
        running.push(submit(&scheduler).await);
        sleep(SOON).await;
    }
    let error = scheduler.submit(ask("b", "hi")).await.map(|_| ()).expect_err("a refusal");
    assert_eq!(error.kind, ErrorKind::QueueFull);
    assert_eq!(error.message, "3 requests wait for m, the limit; try again in 3 s");
    assert_eq!(error.retry_after, Some(secs(3)));
}

#[tokio::test(start_paused = true)]
async fn positions_are_told_and_count_down() {
    let factory = ScriptedFactory::answering(["x"]).max_sequences(1).by_hand();
    let (scheduler, control) = start(&factory);
    let mut first = submit(&scheduler).await;
    first.ready(None).await.expect("a start");
    let (second, mut third) = (submit(&scheduler).await, submit(&scheduler).await);
    assert_eq!((second.queue_position(), third.queue_position()), (1, 2));
    sleep(SOON).await;
    assert_eq!(pending(&mut third), [Event::Waiting { position: 1 }]);
    control.step(1);
    sleep(SOON).await;
    assert_eq!(pending(&mut third), [Event::Waiting { position: 0 }]);
    drop(second);
    third.ready(None).await.expect("a start");
    sleep(secs(2)).await;
    assert!(third.queue_wait() < secs(1), "{:?}", third.queue_wait());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_starts_at_once_stands_in_no_queue() {
    let (scheduler, _) = start(&ScriptedFactory::answering(["x"]));
    scheduler.preload(model("m"), Wishes::default()).await.expect("a model");
    let generation = submit(&scheduler).await;
    assert_eq!(generation.queue_position(), 0);
    let events: Vec<_> = generation.collect().await;
    assert!(matches!(events[0], Ok(Event::Started { .. })), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_client_cannot_starve_another() {
    let script = Script { piece_delay: secs(1), prompt_tokens: 500, ..Script::answering(["x"]) };
    let (scheduler, control) = start(&ScriptedFactory::new(script).max_sequences(1));
    let mut busy = Vec::new();
    for _ in 0..30 {
        busy.push(scheduler.submit(ask("busy", "hi")).await.expect("a place"));
    }
    let calm = scheduler.submit(ask("calm", "hi")).await.expect("a place");
    finish(calm).await.1.expect("an answer");
    assert!(control.started().len() <= 4, "{:?}", control.started());
}

#[tokio::test(start_paused = true)]
async fn no_more_run_than_their_cells_allow() {
    let script = Script { prompt_tokens: 400, ..Script::answering(["x"]) };
    let factory = ScriptedFactory::new(script).context_size(1000).by_hand();
    let (scheduler, control) = start(&factory);
    let _all = [submit(&scheduler).await, submit(&scheduler).await, submit(&scheduler).await];
    sleep(SOON).await;
    assert_eq!(control.live(), 2, "each reserves 464 of 1000");
    control.step(1);
    sleep(SOON).await;
    assert_eq!(control.started().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_cannot_fit_is_refused_before_the_queue_moves() {
    let script = Script { prompt_tokens: 5000, ..Script::answering(["x"]) };
    let (scheduler, _) = start(&ScriptedFactory::new(script));
    let mut generation = submit(&scheduler).await;
    let error = generation.ready(None).await.expect_err("too long");
    assert_eq!(error.kind, ErrorKind::ContextLengthExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_is_an_error_and_the_next_request_works() {
    let factory = ScriptedFactory::choosing(|prompt| Script {
        crash_after: (prompt.text_bytes() > 2).then_some(1),
        ..Script::answering(["half", " whole"])
    });
    let (scheduler, control) = start(&factory);
    let (text, end) = finish(scheduler.submit(ask("a", "poison")).await.expect("a place")).await;
    assert_eq!((text.as_str(), end.expect_err("a crash").kind), ("half", ErrorKind::EngineCrashed));
    assert_eq!(finish(submit(&scheduler).await).await.0, "half whole");
    assert_eq!(control.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_first_word_is_tried_once_more() {
    let factory = ScriptedFactory::answering(["x"]).by_hand();
    let (scheduler, control) = start(&factory);
    let mut running = submit(&scheduler).await;
    running.ready(None).await.expect("a start");
    control.crash();
    sleep(SOON).await;
    control.step(1);
    let events: Vec<_> = running.collect().await;
    let started = events.iter().filter(|e| matches!(e, Ok(Event::Started { .. }))).count();
    assert_eq!(started, 1);
    assert!(matches!(events.last(), Some(Ok(Event::Finished(_)))), "{events:?}");
    assert_eq!(control.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_request_is_tried_twice_and_three_deaths_quarantine_the_model() {
    let factory = ScriptedFactory::choosing(|prompt| Script {
        crash_after: (prompt.text_bytes() > 2).then_some(0),
        ..Script::answering(["x"])
    });
    let (scheduler, control) = start(&factory);
    let poison = || ask("a", "poison");
    let first = scheduler.submit(poison()).await.expect("a place");
    assert_eq!(failure(first).await, ErrorKind::EngineCrashed);
    assert_eq!(control.loads(), 2);
    let second = scheduler.submit(poison()).await.expect("a place");
    assert_eq!(failure(second).await, ErrorKind::ModelQuarantined);
    assert_eq!(control.loads(), 3);
    let refused = scheduler.submit(ask("a", "hi")).await.map(|_| ()).expect_err("quarantined");
    assert_eq!(refused.kind, ErrorKind::ModelQuarantined);
    assert!(refused.message.contains("crashed after 0 pieces"), "{refused}");
    scheduler.preload(model("m"), Wishes::default()).await.expect("a model");
    assert_eq!(finish(submit(&scheduler).await).await.0, "x");
}

#[tokio::test(start_paused = true)]
async fn deaths_while_loading_count_too() {
    let factory = ScriptedFactory::answering(["x"]).failing_loads([crash(), crash(), crash()]);
    let (scheduler, _) = start(&factory);
    for _ in 0..3 {
        assert_eq!(failure(submit(&scheduler).await).await, ErrorKind::EngineCrashed);
    }
    let refused = scheduler.submit(ask("a", "hi")).await.map(|_| ()).expect_err("quarantined");
    assert_eq!(refused.kind, ErrorKind::ModelQuarantined);
}

#[tokio::test(start_paused = true)]
async fn an_idle_model_is_unloaded_after_its_time() {
    let factory = ScriptedFactory::answering(["x"]);
    let config = SchedulerConfig { keep_alive: Some(secs(300)), ..config() };
    let scheduler = Scheduler::start(Arc::new(factory.clone()), config);
    finish(submit(&scheduler).await).await.1.expect("an answer");
    sleep(secs(200)).await;
    finish(submit(&scheduler).await).await.1.expect("an answer");
    sleep(secs(299)).await;
    assert_eq!(scheduler.snapshot().models.len(), 1);
    assert!(scheduler.snapshot().models[0].expires.is_some());
    sleep(secs(2)).await;
    assert!(scheduler.snapshot().models.is_empty());
    assert_eq!(factory.control().unloads(), 1);
}

#[tokio::test(start_paused = true)]
async fn unload_leaves_busy_models_alone() {
    let factory = ScriptedFactory::answering(["x"]).by_hand();
    let (scheduler, control) = start(&factory);
    let mut generation = submit(&scheduler).await;
    generation.ready(None).await.expect("a start");
    assert_eq!(scheduler.unload(UnloadTarget::All).await, 0);
    // Who has the answer need not wait for the engine to let go.
    control.hold_places();
    control.step(1);
    finish(generation).await.1.expect("an answer");
    assert_eq!(scheduler.unload(UnloadTarget::Models(vec![model("m").id])).await, 1);
    assert_eq!(control.unloads(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_an_answer_finds_the_model_idle() {
    let factory = ScriptedFactory::answering(["x"]).by_hand();
    let (scheduler, control) = start(&factory);
    let mut generation = submit(&scheduler).await;
    generation.ready(None).await.expect("a start");
    let busy: Vec<_> = scheduler.settled().await.busy().map(|m| (m.running, m.waiting)).collect();
    assert_eq!(busy, [(1, 0)]);
    control.hold_places();
    control.step(1);
    finish(generation).await.1.expect("an answer");
    assert_eq!(scheduler.snapshot().busy().count(), 1, "the engine has not let go yet");
    assert_eq!(scheduler.settled().await.busy().count(), 0);
    assert_eq!(scheduler.snapshot().models.len(), 1, "it stays loaded");
}

#[tokio::test(start_paused = true)]
async fn evicting_ends_everything_with_the_reason() {
    let factory = ScriptedFactory::answering(["x"]).max_sequences(1).by_hand();
    let (scheduler, control) = start(&factory);
    let mut running = submit(&scheduler).await;
    running.ready(None).await.expect("a start");
    let waiting = submit(&scheduler).await;
    scheduler.evict(model("m").id, "the model was deleted").await;
    for generation in [running, waiting] {
        let error = finish(generation).await.1.expect_err("evicted");
        assert_eq!((error.kind, &*error.message), (ErrorKind::Conflict, "the model was deleted"));
    }
    assert_eq!((control.unloads(), control.live()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn memory_goes_to_who_needs_it_but_not_from_who_uses_it() {
    let factory = ScriptedFactory::answering(["x"]).by_hand();
    let scheduler = Scheduler::start_within(Arc::new(factory.clone()), config(), Some(100));
    let control = factory.control();
    let mut running = submit(&scheduler).await;
    running.ready(None).await.expect("a start");
    let other = || Submission { model: model("other"), ..ask("b", "hi") };
    let error = scheduler.submit(other()).await.map(|_| ()).expect_err("no room");
    assert_eq!(error.kind, ErrorKind::MemoryBusy);
    assert!(error.retry_after.is_some());
    control.step(2);
    finish(running).await.1.expect("an answer");
    sleep(SOON).await;
    let generation = scheduler.submit(other()).await.expect("room");
    assert_eq!(finish(generation).await.0, "x");
    assert_eq!(control.unloads(), 1);
    let names: Vec<_> = scheduler.snapshot().models.iter().map(|m| m.name.clone()).collect();
    assert_eq!(names, ["other"]);
}

#[tokio::test(start_paused = true)]
async fn draining_refuses_who_waits_and_gives_the_running_their_grace() {
    let script = |prompt: &Prompt| Script {
        piece_delay: secs(if prompt.text_bytes() > 2 { 100 } else { 2 }),
        ..Script::answering(["x"])
    };
    let factory = ScriptedFactory::choosing(script).max_sequences(2);
    let (scheduler, control) = start(&factory);
    let quick = submit(&scheduler).await;
    let slow = scheduler.submit(ask("a", "slow")).await.expect("a place");
    let waiting = submit(&scheduler).await;
    sleep(SOON).await;
    let before = Instant::now();
    scheduler.drain(secs(10)).await;
    assert!(before.elapsed() < secs(11), "{:?}", before.elapsed());
    assert_eq!(failure(waiting).await, ErrorKind::ShuttingDown);
    assert_eq!(failure(slow).await, ErrorKind::ShuttingDown);
    assert_eq!(finish(quick).await.0, "x");
    let refused = scheduler.submit(ask("a", "hi")).await.map(|_| ()).expect_err("stopped");
    assert_eq!(refused.kind, ErrorKind::ShuttingDown);
    assert_eq!(control.unloads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_who_waits_and_who_runs() {
    let factory = ScriptedFactory::answering(["x"]).max_sequences(1).by_hand();
    let (scheduler, control) = start(&factory);
    let deadline = Some((Instant::now() + secs(5)).into_std());
    let running = scheduler.submit(Submission { deadline, ..ask("a", "hi") }).await;
    let waiting = scheduler.submit(Submission { deadline, ..ask("a", "hi") }).await;
    for generation in [running, waiting] {
        let kind = failure(generation.expect("a place")).await;
        assert_eq!(kind, ErrorKind::DeadlineExceeded);
    }
    sleep(SOON).await;
    assert_eq!(control.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_cannot_be_met_is_refused_at_once() {
    let script = Script { piece_delay: secs(10), ..Script::answering(["x"]) };
    let (scheduler, _) = start(&ScriptedFactory::new(script).max_sequences(1));
    finish(submit(&scheduler).await).await.1.expect("a measurement");
    let _running = submit(&scheduler).await;
    sleep(SOON).await;
    let deadline = Some((Instant::now() + secs(4)).into_std());
    let late = scheduler.submit(Submission { deadline, ..ask("a", "hi") }).await;
    let error = late.map(|_| ()).expect_err("too late");
    assert_eq!(error.kind, ErrorKind::QueueFull);
    assert_eq!(error.retry_after, Some(secs(10)));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_reading_is_dropped() {
    let factory = ScriptedFactory::answering(["x", "y"]).by_hand();
    let (scheduler, control) = start(&factory);
    let mut generation = submit(&scheduler).await;
    generation.ready(None).await.expect("a start");
    control.step(1);
    sleep(secs(29)).await;
    assert_eq!(control.live(), 1);
    sleep(secs(8)).await;
    assert_eq!(control.live(), 0);
    assert_eq!(failure(generation).await, ErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_stream_costs_no_more_steps() {
    let script = Script { piece_delay: secs(1), ..Script::answering(vec!["x"; 60]) };
    let (scheduler, control) = start(&ScriptedFactory::new(script));
    let mut generation = submit(&scheduler).await;
    generation.ready(None).await.expect("a start");
    sleep(Duration::from_millis(3500)).await;
    drop(generation);
    sleep(secs(20)).await;
    assert_eq!(control.total_steps(), 3);
    assert_eq!(scheduler.snapshot().models[0].running, 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_takes_everything_along() {
    let (scheduler, control) = start(&ScriptedFactory::answering(["x"]).by_hand());
    let mut generation = submit(&scheduler).await;
    generation.ready(None).await.expect("a start");
    drop(scheduler);
    assert_eq!(failure(generation).await, ErrorKind::ShuttingDown);
    sleep(SOON).await;
    assert_eq!((control.live(), control.unloads()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn patience_ends_without_losing_an_event() {
    let (scheduler, control) = start(&ScriptedFactory::answering(["x"]).holding_loads());
    let mut generation = submit(&scheduler).await;
    generation.ready(Some(secs(5))).await.expect("no error");
    control.finish_load();
    let events: Vec<_> = generation.collect().await;
    assert!(events.contains(&Ok(Event::Loading { fraction: 0.75 })), "{events:?}");
    assert!(events.contains(&Ok(Event::Waiting { position: 0 })), "{events:?}");
    assert!(matches!(events.last(), Some(Ok(Event::Finished(_)))), "{events:?}");
}
