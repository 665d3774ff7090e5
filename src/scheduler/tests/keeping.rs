//! How long models stay, and with how much context.

use super::*;
use crate::domain::KeepAlive;
use crate::protocol::Query;

fn keeping(keep_alive: KeepAlive) -> Wishes {
    Wishes { keep_alive: Some(keep_alive), ..Wishes::default() }
}

fn for_secs(n: u64) -> Wishes {
    keeping(KeepAlive::For(secs(n)))
}

/// The model with so much context, as somebody wishes it.
fn sized(context: u32) -> Submission {
    let mut asked = ask("a", "hi");
    asked.model.spec.context_size = context;
    asked.wishes.context = Some(context);
    asked
}

fn start_within(factory: &ScriptedFactory, budget: Option<u64>) -> (Scheduler, Control) {
    let config = SchedulerConfig { keep_alive: Some(secs(300)), ..config() };
    (Scheduler::start_within(Arc::new(factory.clone()), config, budget), factory.control())
}

async fn answer(scheduler: &Scheduler, asked: Submission) {
    let generation = scheduler.submit(asked).await.expect("a place");
    finish(generation).await.1.expect("an answer");
    sleep(SOON).await;
}

fn loaded(scheduler: &Scheduler) -> Vec<String> {
    scheduler.snapshot().models.iter().map(|model| model.name.clone()).collect()
}

fn contexts(control: &Control) -> Vec<u32> {
    control.load_specs().iter().map(|spec| spec.context_size).collect()
}

#[tokio::test(start_paused = true)]
async fn the_last_who_said_how_long_wins_and_silence_changes_nothing() {
    let (scheduler, _) = start_within(&ScriptedFactory::answering(["x"]), None);
    answer(&scheduler, ask("a", "hi")).await;
    assert_eq!(scheduler.snapshot().models[0].keep_alive, Some(secs(300)), "the daemon's");
    answer(&scheduler, Submission { wishes: keeping(KeepAlive::Forever), ..ask("a", "hi") }).await;
    let forever = scheduler.snapshot().models[0].clone();
    assert_eq!((forever.keep_alive, forever.expires), (None, None));
    answer(&scheduler, Submission { wishes: for_secs(10), ..ask("a", "hi") }).await;
    answer(&scheduler, ask("a", "hi")).await;
    let ten = scheduler.snapshot().models[0].clone();
    assert_eq!(ten.keep_alive, Some(secs(10)));
    assert!(ten.expires.is_some());
    sleep(secs(9)).await;
    answer(&scheduler, ask("a", "hi")).await;
    sleep(secs(9)).await;
    assert_eq!(loaded(&scheduler), ["m"], "the time begins anew with every end");
    sleep(secs(2)).await;
    assert!(loaded(&scheduler).is_empty());
    answer(&scheduler, ask("a", "hi")).await;
    assert_eq!(scheduler.snapshot().models[0].keep_alive, Some(secs(300)), "forgotten with it");
}

#[tokio::test(start_paused = true)]
async fn what_is_configured_comes_before_the_default_and_after_the_request() {
    let (scheduler, _) = start_within(&ScriptedFactory::answering(["x"]), None);
    let mut asked = ask("a", "hi");
    asked.model.keep_alive = Some(KeepAlive::For(secs(7)));
    answer(&scheduler, asked).await;
    assert_eq!(scheduler.snapshot().models[0].keep_alive, Some(secs(7)));
    answer(&scheduler, Submission { wishes: for_secs(8), ..ask("a", "hi") }).await;
    assert_eq!(scheduler.snapshot().models[0].keep_alive, Some(secs(8)));
    scheduler.keep(model("m").id, Some(KeepAlive::Forever)).await;
    assert_eq!(scheduler.snapshot().models[0].keep_alive, None, "newer than the request");
    sleep(secs(9)).await;
    assert_eq!(loaded(&scheduler), ["m"]);
    scheduler.keep(model("m").id, None).await;
    assert_eq!(scheduler.snapshot().models[0].keep_alive, Some(secs(300)));
}

#[tokio::test(start_paused = true)]
async fn no_time_at_all_ends_with_the_last_request() {
    let factory = ScriptedFactory::answering(["x"]).by_hand();
    let (scheduler, control) = start_within(&factory, None);
    let asked = Submission { wishes: for_secs(0), ..ask("a", "hi") };
    let mut first = scheduler.submit(asked).await.expect("a place");
    first.ready(None).await.expect("a start");
    let second = submit(&scheduler).await;
    control.step(1);
    finish(first).await.1.expect("an answer");
    sleep(SOON).await;
    assert_eq!(loaded(&scheduler), ["m"], "the second still runs");
    control.step(1);
    finish(second).await.1.expect("an answer");
    sleep(SOON).await;
    assert!(loaded(&scheduler).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_even_if_models_stay_no_time_at_all() {
    let config = SchedulerConfig { keep_alive: Some(Duration::ZERO), ..config() };
    let factory = ScriptedFactory::answering(["x"]);
    let scheduler = Scheduler::start(Arc::new(factory.clone()), config);
    let query = Query::Detokenize(vec![1]);
    scheduler.query(model("m"), query).await.expect("an answer");
    sleep(SOON).await;
    assert!(loaded(&scheduler).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_preload_begins_the_time_anew_and_says_how_long() {
    let (scheduler, control) = start_within(&ScriptedFactory::answering(["x"]), None);
    scheduler.preload(model("m"), for_secs(10)).await.expect("a model");
    sleep(secs(9)).await;
    scheduler.preload(model("m"), Wishes::default()).await.expect("a model");
    sleep(secs(9)).await;
    assert_eq!(scheduler.snapshot().models[0].keep_alive, Some(secs(10)));
    scheduler.preload(model("m"), keeping(KeepAlive::Forever)).await.expect("a model");
    sleep(secs(1000)).await;
    assert_eq!((loaded(&scheduler).len(), control.loads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_stays_for_ever_makes_room_all_the_same() {
    let (scheduler, _) = start_within(&ScriptedFactory::answering(["x"]), Some(100));
    answer(&scheduler, Submission { wishes: keeping(KeepAlive::Forever), ..ask("a", "hi") }).await;
    answer(&scheduler, Submission { model: model("other"), ..ask("a", "hi") }).await;
    assert_eq!(loaded(&scheduler), ["other"]);
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_of_several_makes_room() {
    let (scheduler, _) = start_within(&ScriptedFactory::answering(["x"]), Some(120));
    for name in ["one", "two"] {
        answer(&scheduler, Submission { model: model(name), ..ask("a", "hi") }).await;
    }
    scheduler.preload(model("one"), Wishes::default()).await.expect("a model");
    answer(&scheduler, Submission { model: model("three"), ..ask("a", "hi") }).await;
    assert_eq!(loaded(&scheduler), ["one", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_released_model_goes_now_or_with_its_last_request() {
    let factory = ScriptedFactory::answering(["x"]).by_hand();
    let (scheduler, control) = start_within(&factory, None);
    scheduler.release(model("m").id).await;
    scheduler.preload(model("m"), Wishes::default()).await.expect("a model");
    scheduler.release(model("m").id).await;
    assert_eq!((loaded(&scheduler).len(), control.unloads()), (0, 1));
    let mut running = submit(&scheduler).await;
    running.ready(None).await.expect("a start");
    scheduler.release(model("m").id).await;
    assert_eq!(control.unloads(), 1);
    control.step(1);
    finish(running).await.1.expect("an answer");
    sleep(SOON).await;
    assert_eq!(control.unloads(), 2);
    control.step(1);
    answer(&scheduler, ask("a", "hi")).await;
    assert_eq!(scheduler.snapshot().models[0].keep_alive, Some(secs(300)), "only that once");
}

#[tokio::test(start_paused = true)]
async fn releasing_cancels_a_load_that_no_request_waits_for() {
    let factory = ScriptedFactory::answering(["x"]).holding_loads();
    let (scheduler, _) = start_within(&factory, None);
    let preloading = tokio::spawn({
        let scheduler = scheduler.clone();
        async move { scheduler.preload(model("m"), Wishes::default()).await }
    });
    sleep(SOON).await;
    assert_eq!(loaded(&scheduler), ["m"]);
    scheduler.release(model("m").id).await;
    assert!(loaded(&scheduler).is_empty());
    let ended = preloading.await.expect("a task").expect_err("cancelled");
    assert_eq!(ended.kind, ErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_idle_model_grows_and_never_shrinks() {
    let (scheduler, control) = start_within(&ScriptedFactory::answering(["x"]), None);
    for context in [1000, 500, 1000, 2000, 1000] {
        answer(&scheduler, sized(context)).await;
    }
    assert_eq!(contexts(&control), [1000, 2000]);
    let mut silent = ask("a", "hi");
    silent.model.spec.context_size = 3000;
    answer(&scheduler, silent).await;
    assert_eq!(contexts(&control), [1000, 2000], "nobody wished for that one");
}

#[tokio::test(start_paused = true)]
async fn growing_keeps_what_was_said_of_the_time() {
    let (scheduler, _) = start_within(&ScriptedFactory::answering(["x"]), None);
    answer(&scheduler, Submission { wishes: for_secs(10), ..ask("a", "hi") }).await;
    answer(&scheduler, sized(8000)).await;
    assert_eq!(scheduler.snapshot().models[0].keep_alive, Some(secs(10)));
}

#[tokio::test(start_paused = true)]
async fn a_model_in_use_is_not_restarted_to_grow() {
    let factory = ScriptedFactory::answering(["x"]).by_hand();
    let (scheduler, control) = start_within(&factory, None);
    let mut first = scheduler.submit(sized(1000)).await.expect("a place");
    first.ready(None).await.expect("a start");
    let second = scheduler.submit(sized(2000)).await.expect("a place");
    control.step(2);
    for generation in [first, second] {
        assert_eq!(finish(generation).await.0, "x");
    }
    assert_eq!(contexts(&control), [1000]);
}

#[tokio::test(start_paused = true)]
async fn a_model_stays_as_it_is_where_others_hold_the_memory_to_grow() {
    let factory = ScriptedFactory::answering(["x"]).by_hand();
    let (scheduler, control) = start_within(&factory, Some(120));
    let other = Submission { model: model("other"), ..ask("b", "hi") };
    let mut other = scheduler.submit(other).await.expect("a place");
    other.ready(None).await.expect("a start");
    scheduler.preload(sized(1000).model, Wishes::default()).await.expect("a model");
    let mut larger = sized(2000);
    larger.model.memory_bytes = 61;
    let mine = scheduler.submit(larger).await.expect("a place");
    control.step(2);
    for generation in [other, mine] {
        assert_eq!(finish(generation).await.0, "x");
    }
    assert_eq!(contexts(&control), [4096, 1000]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_a_model_grows_is_served_by_the_larger_one() {
    let factory = ScriptedFactory::answering(["x"]).load_time(secs(2));
    let (scheduler, control) = start_within(&factory, None);
    answer(&scheduler, sized(1000)).await;
    let large = scheduler.submit(sized(2000)).await.expect("a place");
    let small = submit(&scheduler).await;
    let growing = scheduler.snapshot().models[0].clone();
    assert_eq!((growing.waiting, growing.loading.is_some()), (2, true));
    for generation in [large, small] {
        assert_eq!(finish(generation).await.0, "x");
    }
    assert_eq!(contexts(&control), [1000, 2000]);
}

#[tokio::test(start_paused = true)]
async fn a_newer_configuration_replaces_an_idle_model_and_an_older_one_none() {
    let (scheduler, control) = start_within(&ScriptedFactory::answering(["x"]), None);
    let revised = |revision, context| {
        let mut asked = ask("a", "hi");
        asked.model.revision = revision;
        asked.model.spec.context_size = context;
        asked
    };
    for (revision, context) in [(1, 1000), (2, 500), (1, 1000), (2, 500)] {
        answer(&scheduler, revised(revision, context)).await;
    }
    assert_eq!(contexts(&control), [1000, 500]);
}
