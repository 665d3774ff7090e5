//! Tests against real child processes: this test binary plays the worker.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;

use crate::domain::{
    Constraint, ErrorKind, Event, FinishReason, JobId, Outcome, Prompt, Result, Timings, Usage,
};
use crate::engine::{Engine, EngineFactory, LoadProgress, Start, outbox};
use crate::protocol::{
    BUILD_ID, LoadSpec, ModelInfo, PROTOCOL_VERSION, Purpose, Query, QueryAnswer, ToDaemon,
    ToWorker, WorkerHello, read_frame, write_frame,
};

use super::{Patience, WorkerConfig, WorkerFactory};

/// The other process. What it does is named by an argument, which the test harness takes for one
/// more filter.
#[test]
#[ignore = "plays the worker process for the tests beside it"]
#[expect(clippy::exit, reason = "the process is the worker; the test runner must not go on")]
fn play_worker() {
    let mode = std::env::args().find_map(|arg| arg.strip_prefix("mode-").map(str::to_owned));
    let Some(mode) = mode else { return };
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().expect("stdin can be cloned");
    let mut socket = UnixStream::from(stdin);
    play(&mode, &mut socket);
    std::process::exit(0);
}

fn say(socket: &mut UnixStream, frame: &ToDaemon) {
    write_frame(socket, frame).expect("the daemon's side is open");
}

/// Does nothing until it is killed.
fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

fn abort() {
    eprintln!("GGML_ASSERT(n > 0) failed");
    std::process::abort();
}

fn play(mode: &str, socket: &mut UnixStream) {
    if mode == "abort" {
        abort();
    }
    let load: ToWorker = read_frame(socket).expect("a frame").expect("a first frame");
    assert!(matches!(load, ToWorker::Load(_)));
    if mode == "silent" {
        hang();
    }
    let build_id = if mode == "replaced" { "0.0.0+other" } else { BUILD_ID };
    let hello = WorkerHello {
        version: PROTOCOL_VERSION,
        build_id: build_id.into(),
        pid: std::process::id(),
        sandbox: "none".into(),
    };
    say(socket, &ToDaemon::Hello(hello));
    say(socket, &ToDaemon::Progress(0.5));
    if mode == "refuse" {
        let error = crate::domain::Error::new(ErrorKind::InvalidModel, "no such architecture");
        return say(socket, &ToDaemon::LoadFailed(error));
    }
    let ready = ModelInfo {
        purpose: Purpose::Generate,
        embedding_size: 0,
        vision: false,
        audio: false,
        context_size: 128,
        train_context: 128,
        max_sequences: 4,
        vocab_size: 10,
        has_chat_template: false,
        architecture: "fake".into(),
    };
    say(socket, &ToDaemon::Ready(ready));
    while let Ok(Some(frame)) = read_frame::<ToWorker>(socket) {
        match (mode, frame) {
            (_, ToWorker::Prepare { job, prompt, .. }) => {
                let prompt_tokens = u32::try_from(prompt.text_bytes()).expect("a short prompt");
                say(socket, &ToDaemon::Prepared { job, prompt_tokens });
            }
            ("abort-later", ToWorker::Start { .. }) => abort(),
            ("garbage", ToWorker::Start { .. }) => {
                socket.write_all(b"\0\0\0\x03\xff\xff\xff").expect("a write");
            }
            ("stranger", ToWorker::Start { .. }) => {
                let job = JobId(4711);
                say(socket, &ToDaemon::Failed { job, error: crate::domain::Error::internal("x") });
            }
            ("hang" | "stubborn", ToWorker::Start { .. }) => {}
            (_, ToWorker::Start { job, .. }) => answer(socket, job),
            (_, ToWorker::Cancel { job }) => say(socket, &ToDaemon::Released { job }),
            (_, ToWorker::Query { job, query: Query::Detokenize(_) }) => {
                let answer = QueryAnswer::Text("text".into());
                say(socket, &ToDaemon::Answered { job, answer });
            }
            (_, ToWorker::Query { job, .. }) => {
                let error = crate::domain::Error::internal("x");
                say(socket, &ToDaemon::Failed { job, error });
            }
            (_, ToWorker::Load(_)) => {}
        }
    }
    if mode == "stubborn" {
        hang();
    }
}

fn answer(socket: &mut UnixStream, job: JobId) {
    let outcome = Outcome { usage: Usage::default(), timings: Timings::default() };
    let events = [
        Event::Started { prompt_tokens: 1, cached_tokens: 0 },
        Event::content("yes"),
        Event::Ended { choice: 0, finish: FinishReason::Stop },
        Event::Finished(outcome),
    ];
    say(socket, &ToDaemon::Events(events.into_iter().map(|event| (job, event)).collect()));
}

fn factory(mode: &str) -> WorkerFactory {
    let program = std::env::current_exe().expect("the test binary");
    let name = "engine::worker::fake::play_worker";
    let mode = format!("mode-{mode}");
    let config = WorkerConfig {
        program,
        args: ["--exact", name, "--ignored", "--nocapture", &mode].map(Into::into).to_vec(),
        patience: Patience {
            loading: Duration::from_secs(10),
            standstill: Duration::from_secs(10),
            silence: Duration::from_secs(10),
            step: Duration::from_secs(10),
            shutdown: Duration::from_secs(5),
        },
        ..WorkerConfig::default()
    };
    WorkerFactory::new(config).expect("a thread")
}

fn impatient(mode: &str, change: impl FnOnce(&mut Patience)) -> WorkerFactory {
    let mut factory = factory(mode);
    change(factory.patience());
    factory
}

async fn load(factory: &WorkerFactory) -> Result<Arc<dyn Engine>> {
    let spec = LoadSpec {
        purpose: Purpose::Generate,
        name: "fake".into(),
        weights: "/none".into(),
        mmproj: None,
        chat_template: None,
        adapters: vec![],
        readable: Vec::new(),
        context_size: 128,
        max_sequences: 4,
        threads: 1,
    };
    factory.load(spec, watch::Sender::new(LoadProgress::default())).await
}

async fn refusal(factory: &WorkerFactory) -> crate::domain::Error {
    load(factory).await.map(|_| ()).expect_err("no engine")
}

/// Runs one job and answers all that its reader sees, with withheld crashes as errors.
async fn ask(engine: &Arc<dyn Engine>) -> Vec<Result<Event>> {
    let job = JobId(1);
    assert_eq!(engine.prepare(job, Prompt::Text("four".into()), Constraint::None).await, Ok(4));
    let (events, reader) = outbox();
    engine.start(job, Start::default(), events);
    reader.collect().await
}

/// Whether a process is gone without a trace: not even a zombie is left.
#[cfg(target_os = "linux")]
fn is_reaped(pid: u32) -> bool {
    !std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_job_goes_through_a_process_and_back() {
    let engine = load(&factory("normal")).await.expect("an engine");
    let events = ask(&engine).await;
    assert_eq!(events[1], Ok(Event::content("yes")));
    assert!(matches!(events[3], Ok(Event::Finished(_))), "{events:?}");
    let pid = engine.pid().expect("a pid");
    engine.shutdown().await;
    assert!(engine.exited().borrow().as_ref().is_some_and(|exit| exit.requested));
    assert!(is_reaped(pid));
}

#[tokio::test]
async fn a_worker_that_aborts_while_loading_is_quoted() {
    let error = refusal(&factory("abort")).await;
    assert_eq!(error.kind, ErrorKind::LoadCrashed);
    let expected = "the model cannot be loaded, llama.cpp crashed on it: the worker process was \
                    killed by signal 6 (SIGABRT); last words: GGML_ASSERT(n > 0) failed; get the \
                    model anew, or another one";
    assert_eq!(error.message, expected);
}

#[tokio::test]
async fn a_refused_model_keeps_its_own_error() {
    let error = refusal(&factory("refuse")).await;
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::InvalidModel, "no such architecture")
    );
}

#[tokio::test]
async fn a_replaced_binary_is_told_apart() {
    let error = refusal(&factory("replaced")).await;
    assert!(error.message.contains("restart the daemon"), "{error:?}");
}

#[tokio::test]
async fn a_silent_load_is_killed() {
    let factory = impatient("silent", |patience| patience.loading = Duration::from_millis(300));
    let error = refusal(&factory).await;
    assert_eq!(error.kind, ErrorKind::EngineCrashed);
    assert!(error.message.contains("silent"), "{error:?}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_no_crash() {
    let config = WorkerConfig { program: "/nonexistent/modeld".into(), ..WorkerConfig::default() };
    let error = refusal(&WorkerFactory::new(config).expect("a thread")).await;
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(error.message.starts_with("the worker process could not be started"), "{error:?}");
}

#[tokio::test]
async fn a_crash_ends_every_job_with_the_last_words() {
    let engine = load(&factory("abort-later")).await.expect("an engine");
    let pid = engine.pid().expect("a pid");
    let events = ask(&engine).await;
    let Some(Err(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.kind, ErrorKind::EngineCrashed);
    assert!(error.message.contains("last words: GGML_ASSERT"), "{error:?}");
    assert!(is_reaped(pid));
    assert_eq!(
        engine.prepare(JobId(2), Prompt::Text(String::new()), Constraint::None).await.as_ref(),
        Err(error)
    );
    engine.cancel(JobId(1)).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_frame_that_does_not_decode_ends_the_worker() {
    let engine = load(&factory("garbage")).await.expect("an engine");
    let events = ask(&engine).await;
    let Some(Err(error)) = events.last() else { panic!("{events:?}") };
    assert!(error.message.contains("bad frame"), "{error:?}");
}

#[tokio::test]
async fn a_job_that_nobody_started_ends_the_worker() {
    let engine = load(&factory("stranger")).await.expect("an engine");
    let events = ask(&engine).await;
    let Some(Err(error)) = events.last() else { panic!("{events:?}") };
    assert!(error.message.contains("job that does not exist"), "{error:?}");
}

#[tokio::test]
async fn a_worker_without_a_sign_of_life_is_killed() {
    let factory = impatient("hang", |patience| patience.silence = Duration::from_millis(300));
    let engine = load(&factory).await.expect("an engine");
    let events = ask(&engine).await;
    let Some(Err(error)) = events.last() else { panic!("{events:?}") };
    assert!(error.message.contains("stopped responding"), "{error:?}");
}

#[tokio::test]
async fn a_cancel_completes_on_release_and_a_worker_deaf_to_the_end_is_killed() {
    let factory = impatient("stubborn", |patience| patience.shutdown = Duration::from_millis(200));
    let engine = load(&factory).await.expect("an engine");
    let job = JobId(1);
    engine.prepare(job, Prompt::Text("four".into()), Constraint::None).await.expect("a count");
    let (events, _reader) = outbox();
    engine.start(job, Start::default(), events);
    engine.cancel(job).await;
    let pid = engine.pid().expect("a pid");
    engine.shutdown().await;
    assert!(is_reaped(pid));
}

#[tokio::test]
async fn a_dropped_engine_takes_its_process_along() {
    let engine = load(&factory("normal")).await.expect("an engine");
    let (pid, mut exited) = (engine.pid().expect("a pid"), engine.exited());
    drop(engine);
    exited.wait_for(Option::is_some).await.expect("an exit");
    assert!(is_reaped(pid));
}
