//! The worker's `main`: confine, load, serve.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::cancel::CancelBoard;
use super::constraint::Compiler;
use super::embed::EmbedLoop;
use super::frames_out::FramesOut;
use super::jobs::Jobs;
use super::load::{self, AnyContext, Loaded};
use super::output::{Formats, OutputSink};
use super::prepare::{Encoder, Encodings, Pending, Preparer, Senses};
use super::progress::{Fraction, Reporter};
use super::quote::Quotes;
use super::reader::{End, Errand, Routes};
use super::step::{FrameSink, StepCommand, StepLoop, StepSettings};
use super::watchdog::Watchdog;
use super::{cpu, exit, llama, process, sandbox};
use crate::domain::{Error, ErrorKind};
use crate::logbook::parse_filter;
use crate::protocol::{
    BUILD_ID, CodecError, LoadSpec, PROTOCOL_VERSION, ToDaemon, ToWorker, WorkerHello, read_frame,
};

/// The variable that says what is logged, in the daemon's words.
const LOG_VARIABLE: &str = "MODELD_LOG";
/// Stack of the threads that run llama.cpp's recursive parts (regular expressions, templates). Only
/// what is used of it costs memory.
const STACK: usize = 64 << 20;

/// Runs a worker: one end of a socket pair is its standard input, its log goes to standard error.
///
/// Order of the first frames: the daemon sends `Load`; the worker reads it, confines itself to the
/// files that it names, and only then starts a thread or opens a file; it answers `Hello` (which
/// says what confines it), `Progress` while it loads, and `Ready` or `LoadFailed`.
///
/// Returns only when the worker cannot begin or ends in order; everything else ends the process
/// where it happens (see `exit`).
pub fn run() -> ExitCode {
    let filter = std::env::var(LOG_VARIABLE).ok().and_then(|text| parse_filter(&text).ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    // The daemon reads level and target from each line, and has a clock of its own.
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(false).without_time();
    // Fails only where something else has set it, and then that one is used.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    process::exit_on_panic();
    process::harden();
    let code = match connect() {
        Ok(stream) => serve(stream),
        Err(error) => {
            tracing::error!(%error, "the standard input is no socket of a daemon");
            exit::SYSTEM
        }
    };
    // Threads may still be inside llama.cpp, so no exit handlers.
    llama::exit_now(code)
}

fn connect() -> io::Result<UnixStream> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(io::Error::other("`modeld worker` is started by `modeld serve`, not by hand"));
    }
    Ok(UnixStream::from(stdin.as_fd().try_clone_to_owned()?))
}

/// From the first frame to the end; answers the exit code.
fn serve(mut input: UnixStream) -> i32 {
    let spec = match read_frame::<ToWorker>(&mut input) {
        Ok(Some(ToWorker::Load(spec))) => spec,
        Ok(None) | Err(CodecError::Io(_)) => return exit::DAEMON_GONE,
        Ok(Some(_)) => return protocol_error("the first frame is not Load"),
        Err(error) => {
            // Another build, most likely: the hello tells the daemon so.
            if let Ok(output) = input.try_clone() {
                FramesOut::new(output).send(hello("not confined".to_owned()));
            }
            return protocol_error(&error.to_string());
        }
    };
    let sandbox = sandbox::confine(&spec);
    let out = match input.try_clone() {
        Ok(output) => Arc::new(FramesOut::new(output)),
        Err(error) => return system_error(&error),
    };
    out.send(hello(sandbox));
    if let Err(message) = cpu::check_features() {
        out.send(ToDaemon::LoadFailed(Error::new(ErrorKind::Unsupported, message)));
        return exit::LOAD_FAILED;
    }
    match start_threads(spec, input, out) {
        Ok(compute) => compute.join().unwrap_or(exit::PANIC),
        Err(error) => system_error(&error),
    }
}

fn hello(sandbox: String) -> ToDaemon {
    ToDaemon::Hello(WorkerHello {
        version: PROTOCOL_VERSION,
        build_id: BUILD_ID.to_owned(),
        pid: std::process::id(),
        sandbox,
    })
}

fn protocol_error(what: &str) -> i32 {
    tracing::error!(what, "the daemon's frames make no sense");
    exit::PROTOCOL
}

fn system_error(error: &io::Error) -> i32 {
    tracing::error!(%error, "the worker cannot start");
    exit::SYSTEM
}

/// Starts all threads; the one that is returned loads and computes.
fn start_threads(
    spec: LoadSpec,
    mut input: UnixStream,
    out: Arc<dyn FrameSink>,
) -> io::Result<thread::JoinHandle<i32>> {
    let (prepare, errands) = mpsc::channel();
    let (step, commands) = mpsc::channel();
    let board = CancelBoard::new();
    let jobs = Arc::new(Jobs::default());
    let routes =
        Routes { jobs: Arc::clone(&jobs), prepare, step: step.clone(), board: Arc::clone(&board) };
    thread::Builder::new().name("reader".to_owned()).spawn(move || {
        match routes.serve(&mut input) {
            End::DaemonGone => llama::exit_now(exit::DAEMON_GONE),
            End::Protocol(what) => llama::exit_now(protocol_error(&what)),
        }
    })?;
    let words_out = Arc::clone(&out);
    let watchdog = Arc::new(Watchdog::start(move |last_words| {
        words_out.send(last_words);
        llama::exit_now(exit::TEMPLATE_TIMEOUT);
    })?);
    let formats = Arc::new(Formats::default());
    let out = OutputSink::start(out, Arc::clone(&formats), STACK)?;
    let worker = Worker { spec, board, jobs, step, watchdog, formats, out };
    // llama.cpp's thread pool belongs to the thread that computes, so that one loads, too.
    thread::Builder::new()
        .name("step".to_owned())
        .stack_size(STACK)
        .spawn(move || worker.run(errands, commands))
}

/// Starts the thread that encodes images and sounds. It ends with the one that sends to it.
fn start_encoder(encoder: Encoder) -> io::Result<Sender<Pending>> {
    let (sender, prompts) = mpsc::channel();
    thread::Builder::new()
        .name("encode".to_owned())
        .stack_size(STACK)
        .spawn(move || encoder.run(&prompts))?;
    Ok(sender)
}

/// What the computing thread needs.
struct Worker {
    spec: LoadSpec,
    board: Arc<CancelBoard>,
    jobs: Arc<Jobs>,
    step: Sender<StepCommand>,
    watchdog: Arc<Watchdog>,
    formats: Arc<Formats>,
    out: Arc<dyn FrameSink>,
}

impl Worker {
    fn run(self, errands: Receiver<Errand>, commands: Receiver<StepCommand>) -> i32 {
        let loaded = match self.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(model = self.spec.name, cause = error.cause, "{}", error.message);
                self.out.send(ToDaemon::LoadFailed(error));
                return exit::LOAD_FAILED;
            }
        };
        let Loaded { model, context, templates, projector, info } = loaded;
        let (encoder, without) = match projector {
            Some(Ok(projector)) => (Some(projector), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        let encoder = encoder.map(|projector| Encoder {
            name: self.spec.name.clone(),
            projector,
            model: Arc::clone(&model),
            context_size: info.context_size,
            known: Encodings::default(),
            jobs: Arc::clone(&self.jobs),
            step: self.step.clone(),
            formats: Arc::clone(&self.formats),
            out: Arc::clone(&self.out),
        });
        let encoder = match encoder.map(start_encoder).transpose() {
            Ok(encoder) => encoder,
            Err(error) => return system_error(&error),
        };
        let senses = Senses { vision: info.vision, audio: info.audio, without, encoder };
        let settings = StepSettings {
            defaults: model.sampling_defaults(),
            max_requests: usize::try_from(info.max_sequences).unwrap_or(usize::MAX),
            ..StepSettings::default()
        };
        let preparer = Preparer {
            name: self.spec.name,
            purpose: self.spec.purpose,
            model: Arc::clone(&model),
            templates,
            context_size: info.context_size,
            asked: Cell::new(false),
            constraints: Compiler::new(Arc::clone(&model)),
            senses,
            quotes: Quotes::new(model.control_texts()),
            watchdog: self.watchdog,
            jobs: self.jobs,
            step: self.step,
            formats: self.formats,
            out: Arc::clone(&self.out),
        };
        let started = thread::Builder::new()
            .name("prepare".to_owned())
            .stack_size(STACK)
            .spawn(move || preparer.run(&errands));
        if let Err(error) = started {
            return system_error(&error);
        }
        self.out.send(ToDaemon::Ready(info));
        let outcome = match context {
            AnyContext::Generate(context) => {
                StepLoop::new(context, model, settings, self.board, self.out).run(commands)
            }
            AnyContext::Pooled(context) => {
                EmbedLoop::new(context, settings, self.board, self.out).run(commands)
            }
        };
        match outcome {
            Ok(()) => exit::DAEMON_GONE,
            Err(error) => {
                tracing::error!(error, "llama.cpp failed");
                exit::CONTEXT_LOST
            }
        }
    }

    /// Loads with signs of life, the last of them before this returns.
    fn load(&self) -> Result<Loaded, Error> {
        let fraction = Fraction::default();
        let _reporter =
            Reporter::start(fraction.clone(), Arc::clone(&self.out)).map_err(Error::internal)?;
        load::load(&self.spec, self.board.abort_flag(), &fraction, &self.watchdog)
    }
}
