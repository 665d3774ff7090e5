use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The most that is read of what a program says, in bytes.
const MAX_OUTPUT: u64 = 1 << 20;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the rest of what an ended program said may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long one may take that is only asked how things are.
const BRIEF: Duration = Duration::from_secs(3);

/// How a program ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code; -1 if a signal or the time ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Finished {
    /// Whether it did what it was asked.
    pub fn is_success(&self) -> bool {
        self.code == 0
    }

    /// What it said about a failure, in one line.
    pub fn problem(&self) -> String {
        let said = if self.err.trim().is_empty() { &self.out } else { &self.err };
        let lines: Vec<&str> =
            said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match lines.is_empty() {
            true => format!("exit code {}", self.code),
            false => lines.join("; "),
        }
    }
}

/// Programs of the system (`systemctl`, `loginctl`, …), so that tests can play them.
pub trait Programs: Send + Sync {
    /// Runs one without input until it ends, and reads what it says.
    ///
    /// # Errors
    /// `NotFound` where there is no such program.
    fn run(&self, program: &str, args: &[&str]) -> io::Result<Finished>;

    /// Runs one on this process's own terminal until it ends; its exit code.
    ///
    /// # Errors
    /// Likewise.
    fn show(&self, program: &str, args: &[&str]) -> io::Result<i32>;
}

/// Those that are installed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemPrograms;

/// Those that are installed, for questions that are answered at once or not at all.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BriefPrograms;

impl Programs for BriefPrograms {
    fn run(&self, program: &str, args: &[&str]) -> io::Result<Finished> {
        run(program, args, BRIEF)
    }

    fn show(&self, program: &str, args: &[&str]) -> io::Result<i32> {
        SystemPrograms.show(program, args)
    }
}

impl Programs for SystemPrograms {
    fn run(&self, program: &str, args: &[&str]) -> io::Result<Finished> {
        run(program, args, PATIENCE)
    }

    fn show(&self, program: &str, args: &[&str]) -> io::Result<i32> {
        Ok(Command::new(program).args(args).status()?.code().unwrap_or(-1))
    }
}

/// What it said in its time counts, also where something that it started holds its output open.
fn run(program: &str, args: &[&str], patience: Duration) -> io::Result<Finished> {
    let mut command = Command::new(program);
    // The words of some states are read.
    command.args(args).env("LC_ALL", "C").env("SYSTEMD_PAGER", "").stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let out = reader(child.stdout.take());
    let err = reader(child.stderr.take());
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (tell, ended) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait()));
    let status = match ended.recv_timeout(patience) {
        Ok(status) => Some(status?),
        Err(_) => {
            // It is waited for above, so that the number is still its own.
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
            None
        }
    };
    let (out, mut err) = (text(&out), text(&err));
    if status.is_none() {
        err = format!("{program} took longer than {} s", patience.as_secs());
    }
    Ok(Finished { code: status.and_then(|status| status.code()).unwrap_or(-1), out, err })
}

fn reader(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tell, read) = mpsc::channel();
    if let Some(stream) = stream {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut stream = stream.take(MAX_OUTPUT);
            let _ = stream.read_to_end(&mut bytes);
            let _ = tell.send(bytes);
            // A program that says more must not wait for a reader.
            let _ = io::copy(&mut stream.into_inner(), &mut io::sink());
        });
    }
    read
}

fn text(read: &mpsc::Receiver<Vec<u8>>) -> String {
    let bytes = read.recv_timeout(LAST_WORDS).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_run_and_heard() {
        let done = SystemPrograms.run("sh", &["-c", "echo out; echo err >&2; exit 3"]).unwrap();
        assert_eq!(done, Finished { code: 3, out: "out\n".into(), err: "err\n".into() });
        assert_eq!(done.problem(), "err");
        let missing = SystemPrograms.run("/nonexistent/program", &[]).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_failure_without_words_is_its_code() {
        let silent = Finished { code: 4, ..Finished::default() };
        assert_eq!(silent.problem(), "exit code 4");
    }
}
