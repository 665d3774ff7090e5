//! How the worker process ends. Codes are for logs; the daemon needs none of them.

/// The daemon closed the socket.
pub const DAEMON_GONE: i32 = 0;
/// The model could not be loaded; `LoadFailed` said why.
pub const LOAD_FAILED: i32 = 10;
/// A chat template ran for too long; `Failed` or `LoadFailed` said so.
pub const TEMPLATE_TIMEOUT: i32 = 11;
/// llama.cpp failed in a way after which its context cannot be trusted.
pub const CONTEXT_LOST: i32 = 12;
/// A panic: a fault of modeld.
pub const PANIC: i32 = 13;
/// The daemon sent something that is no frame, or in no order that makes sense.
pub const PROTOCOL: i32 = 14;
/// A thread or the standard input was not to be had.
pub const SYSTEM: i32 = 15;
