//! # modeld: how it is built
//!
//! modeld is a per-user daemon that runs language models on the user's own machine. Clients speak
//! HTTP to it over a Unix socket (or loopback TCP, when asked); it keeps models in a
//! content-addressed store and runs each loaded one with llama.cpp in a process of its own, behind
//! a bounded queue. This page says how the parts fit; each module's own page says what it owns.
//!
//! ## Bird's eye
//!
//! ```text
//!            clients: curl, SDKs, IDEs, `modeld run`, containers
//!                 │ HTTP/1.1 over Unix socket / TCP
//! ┌───────────────▼───────────────────────────────────────────────┐
//! │ modeld serve            async, small, makes no foreign call   │
//! │  api ─▶ service ─▶ scheduler ─▶ engine::worker ── socketpair ─┼─┐
//! │            └─▶ models ─▶ store, gguf, registry                │ │
//! └───────────────────────────────────────────────────────────────┘ │
//!      one per loaded model, the same binary executed again         │
//! ┌─────────────────────────────────────────────────────────────────▼┐
//! │ modeld worker           llama.cpp; confined: Landlock, seccomp   │
//! │  frames in ─▶ prepare ─▶ slots ─▶ one batch a step ─▶ sample ─▶ frames out │
//! └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! ## Map
//!
//! A module uses only modules of lower rank (a test reads the sources and holds them to this).
//!
//! | rank | module | what it owns |
//! |---|---|---|
//! | 7 | [`cli`] | one file per command; prints through one printer |
//! | 6 | [`daemon`] | composition: build (bound, not running) → run → drain; listeners, activation, signals |
//! | 5 | [`api`] | HTTP and JSON, served: routes, dialects, the status table, body framing, guards |
//! | 5 | [`doctor`] | what may be wrong around a daemon, each with what to do about it; needs no daemon |
//! | 4 | [`service`] | use cases, one file each, without HTTP |
//! | 3 | [`scheduler`] | the queue and residency as plain values, one driver task that owns them |
//! | 3 | [`models`] | a reference becomes local, leased, verified files; pulls, packaging and archives |
//! | 2 | [`engine`] | the seam to what computes: worker processes, and a scripted double for tests |
//! | 2 | [`worker`] | what runs inside a worker: step loop, prefix cache, sampling, constraints, templates, tool calls, embeddings, images, llama.cpp |
//! | 2 | [`store`] | content-addressed disk: blobs, manifests, tags, locks |
//! | 2 | [`registry`] | OCI registries and the Hugging Face Hub: the only way out of the machine, under one policy; manifests and configs |
//! | 2 | [`client`] | HTTP to a daemon, for the command line and tests |
//! | 1 | [`protocol`] | the frames between daemon and worker |
//! | 1 | [`schema`] | JSON schemas of clients: what can be guaranteed, and what is wrong with the rest |
//! | 1 | [`gguf`] | bounds-checked reader of model file headers; memory estimates |
//! | 1 | [`config`] | what was typed → what it means |
//! | 1 | [`metrics`] | what is counted and measured, and its text for Prometheus |
//! | 1 | [`tokens`] | bearer tokens: made, kept as digests, looked up |
//! | 0 | [`domain`] | requests, events, errors, names: no HTTP, no runtime, no disk |
//! | 0 | [`certificates`] | what certificates say of themselves |
//! | 0 | [`files`] | small files, read without waiting and written as a whole |
//! | 0 | [`logbook`] | the log: which lines there are, queues that nobody waits for, files that are rotated, read and followed |
//!
//! One type goes down ([`domain::GenerateRequest`]), one comes up ([`domain::Event`]). A dialect is
//! a conversion, a renderer and an error envelope; dialects never use each other. An answer that is
//! not streamed is a fold over the events that a stream would have shown ([`domain::Transcript`]),
//! so the two cannot disagree.
//!
//! ## Invariants
//!
//! * The daemon process makes no llama.cpp call and maps no model file. Whatever a model file or
//!   llama.cpp does ends one worker, and with it the requests of that model, nothing else.
//! * `unsafe` exists in `worker::llama` only, and on macOS in `daemon::launchd`, for the one call
//!   that launchd hands its sockets out with. Every foreign call is bounds-checked first; C++
//!   exceptions are caught in our own C++ file and come back as error values.
//! * llama.cpp never sees a file whose header our own reader has not accepted.
//! * Nothing is silently cut: a prompt that does not fit is an error with both numbers; a request
//!   field is honoured, refused by name, or ignored on a documented list. Request types are
//!   destructured exhaustively, so a new field does not compile until someone decides.
//! * Every queue is bounded. A refusal is a value with a reason and a computed time to try again,
//!   given before the first byte of an answer.
//! * The first event is awaited before a 200 is committed, so failures keep their true status.
//! * Dropping an answer's stream cancels its request, queued or running; its place is free when the
//!   engine has let go, not when the socket closed.
//! * Nothing ever waits for a reader: text for a slow client is joined in its outbox; a client that
//!   reads nothing for 30 s is dropped.
//! * A blob that is visible in the store has been hashed, synced and renamed, in that order.
//! * Nothing ever waits for a log, either: lines that nobody takes in time are dropped and counted.
//! * Prompts and answers are never logged. Where the owner asks for it, `api`'s recorder holds the last
//!   ones in memory, bounded, and nowhere else.
//!
//! ## A chat request, from socket to token and back
//!
//! 1. `daemon` accepts the connection, reads the peer's credentials and serves HTTP on it with
//!    armed timers. The connection's listener class and client key ride along as extensions.
//! 2. `api::middleware` gives the request an id, takes keys and tokens out of its headers, strips
//!    `/exp/vDD…`, checks Host, Origin and the listener's rights; `api::router` finds the dialect's
//!    handler.
//! 3. `api::openai::convert` turns the body into a [`domain::GenerateRequest`]; whatever is wrong
//!    with it becomes that dialect's error, naming the field. Nothing below knows the dialect.
//! 4. `service::generate` resolves the name: `models` finds the manifest in the `store`, checks that
//!    every blob is there, reads the GGUF header, and takes a lease that keeps the files while
//!    they are in use. The context size is chosen here.
//! 5. `scheduler` puts the request into the model's queue, or refuses it. The driver task loads the
//!    model if nobody has (one load, however many wait), and asks the engine to *prepare* the
//!    prompt: the worker's second thread renders the chat template, tokenises, keeps the tokens and
//!    answers their number. A prompt too long ends here, before any compute. Images and sounds are
//!    decoded and encoded on a third thread, and reach the step loop as rows of numbers that are
//!    computed in the place of tokens, between the batches of all others.
//! 6. When cells and a sequence are free, the driver *starts* the job. In the worker, the step loop
//!    looks for the longest common prefix among all sequences, shares its cells, and computes the
//!    rest in chunks that keep everybody else's inter-token time near the target.
//! 7. Each step: one batch for all running sequences, one sampled token each, its bytes joined to
//!    whole characters and held back while they could be the start of a stop string, then one frame
//!    of [`domain::Event`]s to the daemon.
//!    Where the answer has a form (a JSON schema, a tool call that must be made), a constraint masks
//!    the row of logits before it is sampled. Text of models that call tools or think goes through a
//!    parser on a thread beside the step loop, which splits it into content, reasoning and calls.
//! 8. `engine::worker` hands each event to its request's outbox. The handler, which waited for the
//!    first one, commits the 200; the dialect's renderer turns events into SSE chunks or a fold.
//! 9. `Finished` carries the true counts. The ticket is returned; the sequence stays in the worker
//!    as an idle prefix until its cells are needed.
//!
//! If the worker dies at step 7, the answer ends with the dialect's error event, the daemon stays,
//! and the next request starts a new worker; a request that had produced nothing is tried once more.
//!
//! Vectors of embedding models and scores of rerankers take the same way; their worker runs another
//! loop, which computes whole inputs and answers with numbers instead of text.
//!
//! ## A pull, from name to model
//!
//! 1. `service` asks `models` for a plan: `registry` speaks to the host that the name names, through
//!    one HTTP client that checks every address before it connects and carries no credentials to
//!    another host. Manifest and config are there, verified and authorised, before the client reads a
//!    200; whoever asks for the same model meanwhile joins the running pull.
//! 2. `models::pull` fetches the missing layers, each by one writer whatever asks for it, into
//!    partial files of the `store` whose synced parts a journal names, hashes them on the way, and
//!    goes on after a fault where the journal says.
//! 3. A blob gets its name when its digest is right and its bytes are synced; then the headers of the
//!    weights are read; then the manifest and the tag make the model visible.
//!
//! ## Where this departs from the obvious
//!
//! * `prepare` answers a token *count*, the tokens stay in the worker under the job's id: a prompt
//!   of 100,000 tokens does not travel twice.
//! * The first frame to a worker is the model to load, because the sandbox depends on its files; the
//!   worker says hello after it has confined itself.

pub mod api;
pub mod certificates;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod domain;
pub mod engine;
pub mod files;
pub mod gguf;
pub mod logbook;
pub mod metrics;
pub mod models;
pub mod protocol;
pub mod registry;
pub mod scheduler;
pub mod schema;
pub mod service;
pub mod store;
pub mod tokens;
pub mod worker;
