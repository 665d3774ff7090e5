//! The program: a worker when the daemon says so, else the command line.

use std::process::ExitCode;

/// See `daemon::give_memory_back`.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // A worker confines itself and loads a model; it needs no argument parser, no runtime and no
    // second thread before that.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == "worker") {
        return modeld::worker::run();
    }
    modeld::cli::main().into()
}
