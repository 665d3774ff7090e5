//! An engine that plays scripts: no model, no process, no surprise.
//!
//! Tests of everything above the engine run against it. What an answer says is a [`Script`]; how
//! the engine around it behaves (how long a load takes, how many sequences it has, how it dies) is
//! said on the [`ScriptedFactory`]; and its [`Control`] steps it by hand and tells what happened.
//!
//! ```
//! use modeld::domain::{Delta, FinishReason};
//! use modeld::engine::scripted::{Script, ScriptedFactory};
//!
//! // Every prompt gets the same two pieces and a normal end.
//! let simple = ScriptedFactory::answering(["Hel", "lo"]);
//!
//! // Each prompt its own script; pieces come only when the test says so.
//! let factory = ScriptedFactory::choosing(|prompt| match prompt.text_bytes() {
//!     0..100 => Script::answering(["short"]),
//!     _ => Script { crash_after: Some(1), ..Script::answering(["long", " story"]) },
//! })
//! .max_sequences(2)
//! .by_hand();
//! let control = factory.control();
//! control.step(1);
//!
//! // Anything that an engine can say: deltas of all kinds, several choices, vectors.
//! let thinking = Script::deltas([Delta::Reasoning("Hm.".into()), Delta::Content("Yes".into())]);
//! let two = Script::choices([
//!     vec![Delta::Content("one".into())],
//!     vec![Delta::Content("other".into())],
//! ])
//! .ending(FinishReason::Length);
//! let vectors = Script::vectors([vec![0.5, 0.5]]);
//! # let _ = (simple, thinking, two, vectors);
//! ```
//!
//! It keeps the contract of [`Engine`](super::Engine) to the letter (`cancel` completes when the
//! job is gone, jobs of a dead engine get its error), so that a test that passes here fails with a
//! real worker only where the worker is wrong.

mod control;
mod engine;
mod factory;
mod play;
mod script;

pub use control::Control;
pub use factory::ScriptedFactory;
pub use script::Script;
