//! Sockets that launchd opened: it hands them out by name, through a call of its own.
#![allow(unsafe_code, reason = "launchd has no other interface for this than a C function")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::AddressFamily;

use super::DaemonError;
use super::activation::Inherited;

/// The keys below `Sockets` in the property list that mean something here.
const NAMES: [&CStr; 4] = [c"unix", c"tcp", c"ollama", c"containers"];

unsafe extern "C" {
    /// `<launch.h>`: the descriptors below a key of `Sockets`, in an array that the caller frees.
    fn launch_activate_socket(
        name: *const c_char,
        fds: *mut *mut c_int,
        count: *mut usize,
    ) -> c_int;
    /// `<stdlib.h>`
    fn free(pointer: *mut c_void);
}

/// What launchd opened for this process; nothing where it did not start it.
///
/// # Errors
/// [`DaemonError::Inherited`] for a socket that is not what its key says, or that would open modeld
/// to the network.
pub(super) fn sockets() -> Result<Vec<Inherited>, DaemonError> {
    let mut all = Vec::new();
    for name in NAMES {
        for socket in take(name)? {
            all.push(understand(socket, &name.to_string_lossy())?);
        }
    }
    Ok(all)
}

fn take(name: &CStr) -> Result<Vec<OwnedFd>, DaemonError> {
    let mut fds: *mut c_int = std::ptr::null_mut();
    let mut count: usize = 0;
    // SAFETY: the name ends in a zero and both pointers are to variables of this frame, to which
    // the call writes once.
    let errno = unsafe { launch_activate_socket(name.as_ptr(), &raw mut fds, &raw mut count) };
    match Errno::from_raw_os_error(errno) {
        _ if errno == 0 => {}
        // No such key; not started by launchd; already taken.
        Errno::NOENT | Errno::SRCH | Errno::ALREADY => return Ok(Vec::new()),
        error => {
            let doing = format!("take the sockets {} from launchd", name.to_string_lossy());
            return Err(DaemonError::io(doing, error));
        }
    }
    if fds.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the call succeeded, so that the array has `count` descriptors. Nobody writes to it.
    let numbers = unsafe { std::slice::from_raw_parts(fds, count) }.to_vec();
    // SAFETY: the array is the caller's to free, and was copied.
    unsafe { free(fds.cast()) };
    let own = |number: c_int| {
        // SAFETY: launchd opened the descriptor for us and hands it out once; nobody else has it.
        unsafe { OwnedFd::from_raw_fd(number) }
    };
    Ok(numbers.into_iter().filter(|number| *number >= 0).map(own).collect())
}

fn understand(socket: OwnedFd, name: &str) -> Result<Inherited, DaemonError> {
    let number = usize::try_from(std::os::fd::AsRawFd::as_raw_fd(&socket)).unwrap_or_default();
    let bad = |problem: String| DaemonError::Inherited { number, problem };
    let kept = |error: Errno| bad(format!("cannot be used: {error}"));
    // What this process executes must not have it.
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).map_err(kept)?;
    let stat = rustix::fs::fstat(&socket).map_err(kept)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(bad("is no socket".to_owned()));
    }
    let local = rustix::net::getsockname(&socket).map_err(kept)?;
    match local.address_family() {
        AddressFamily::UNIX if name == "unix" => {
            Inherited::unix(UnixListener::from(socket)).map_err(|e| bad(e.to_string()))
        }
        AddressFamily::INET | AddressFamily::INET6 => {
            Inherited::tcp(TcpListener::from(socket), name).map_err(bad)
        }
        _ => Err(bad(format!("is named {name} and is none"))),
    }
}
