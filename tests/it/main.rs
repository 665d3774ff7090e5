//! Tests of the whole program: the real binary, real sockets, real processes and llama.cpp, with
//! models that the tests make themselves (`support/models.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a test ends by a panic and says what it skips"
)]

mod support;

mod access_pages;
mod access_slow;
mod access_tokens;
mod access_users;
mod activate;
mod answers;
mod batching;
mod browsers;
mod canary;
mod canary_places;
mod catalog;
mod cli;
mod config_file;
mod configure;
mod containers;
mod dialects;
mod docker_cli;
mod doctor;
mod embeddings;
mod examples;
mod faults;
mod fixtures;
mod frameworks;
mod fuzz;
mod hostile_models;
mod hub;
mod import;
mod launchd;
mod layering;
mod lifecycle;
mod login;
mod logs;
mod malformed;
mod media;
mod metrics;
mod ollama;
mod ollama_store;
mod openapi;
mod overload;
mod packages;
mod packaging;
mod pull;
mod pull_auto;
mod pull_faults;
mod pull_kills;
mod pull_many;
mod pull_registry;
mod pull_syscalls;
mod readme;
mod recorder;
mod registry;
mod removal_races;
mod residency;
mod sampling;
mod sandbox;
mod sdk;
mod service;
mod slow_clients;
mod store_faults;
mod systemd;
mod tcp;
mod tools;
mod upkeep;
mod wire;
