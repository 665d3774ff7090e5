//! What runs inside a worker process: one model, one step loop.
//!
//! ```text
//! stdin ─▶ reader ─┬─ Prepare ─▶ prepare thread (template, tokenise) ─┐
//!                  ├─ Start, Cancel ──────────────────────────────────┼─▶ step thread ─▶ frames
//!                  └─ Cancel ─▶ cancel board ─▶ abort flag (llama.cpp) ┘
//! ```

pub mod compute;
pub mod llama;
