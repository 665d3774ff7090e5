//! Models that other programs have on this machine already: found where those keep them, named
//! after where they came from, and taken into the store without copying their bytes.
//!
//! Knows the directories of Docker Model Runner, Ollama, LM Studio, llama.cpp and the Hugging Face
//! cache. It reads there and never writes.

mod candidate;
mod docker;
mod files;
mod hub_cache;
mod llama_cpp;
mod lm_studio;
mod names;
mod ollama;
mod register;
#[cfg(test)]
mod tests;

pub use candidate::{ImportEvent, ImportOptions, Imported, Origin, Places};
