//! Plays systemd's journal for one daemon.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What ends the listener; no entry looks like it.
const END: &[u8] = b"end of the test";

/// A socket that takes entries, seen in the place of the journal's by programs that are started
/// [around](Journal::around) it.
pub struct Journal {
    dir: PathBuf,
    entries: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
}

impl Journal {
    /// Whether a program can be given a `/run` of its own here.
    pub fn can_be_played() -> bool {
        let mut command = Command::new("unshare");
        command.args(["-Urm", "mount", "-t", "tmpfs", "tmpfs", "/run"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    pub fn start(dir: &Path) -> Self {
        let dir = dir.join("journal");
        std::fs::create_dir(&dir).expect("a directory");
        let socket = UnixDatagram::bind(dir.join("socket")).expect("a socket");
        let entries = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&entries);
        let listener = std::thread::spawn(move || {
            let mut entry = vec![0; 256 << 10];
            while let Ok(length) = socket.recv(&mut entry) {
                if &entry[..length] == END {
                    return;
                }
                let mut kept = kept.lock().expect("no panic");
                kept.extend_from_slice(&entry[..length]);
                kept.push(b'\n');
            }
        });
        Self { dir, entries, listener: Some(listener) }
    }

    /// The same program with its standard error in this journal, as the service manager does it: the
    /// variable names what standard error is, and the socket is in its place.
    pub fn around(&self, program: &Command) -> Command {
        let script = "mount -t tmpfs tmpfs /run && mkdir /run/systemd && \
                      ln -s \"$JOURNAL\" /run/systemd/journal && \
                      JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", script, "sh"]);
        command.arg(program.get_program()).args(program.get_args()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("JOURNAL", &self.dir);
        command
    }

    /// What came so far.
    pub fn entries(&self) -> Vec<u8> {
        self.entries.lock().expect("no panic").clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let end = UnixDatagram::unbound().and_then(|own| own.send_to(END, self.dir.join("socket")));
        if let (Ok(_), Some(listener)) = (end, self.listener.take()) {
            let _ = listener.join();
        }
    }
}
