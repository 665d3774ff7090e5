//! A daemon that is killed after each single call that makes a pull durable, one after the other.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::daemon::send;
use crate::support::fake_registry::FakeRegistry;
use crate::support::pulling::{LICENSE, WEIGHTS, pull, sound};
use crate::support::{Daemon, models, skip, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// What it is stopped after.
const CALLS: &str = "fsync,fdatasync,?rename,?renameat,renameat2,?link,linkat,?unlink,unlinkat,?mkdir,\
                     mkdirat,ftruncate,fallocate";

/// strace, which stops the daemon after each of [`CALLS`] so that it can be killed there.
struct Tracer {
    child: Child,
    dir: tempfile::TempDir,
}

impl Tracer {
    /// `None` where that is not possible here.
    fn attach(test: &str, pid: u32) -> Option<Self> {
        let dir = tempfile::TempDir::new().unwrap();
        let errors = fs::File::create(dir.path().join("errors")).unwrap();
        let child = Command::new("strace")
            .args(["-f", "-y", "-p", &pid.to_string(), "-e", &format!("trace={CALLS}")])
            .args(["-e", &format!("inject={CALLS}:signal=STOP"), "-o"])
            .arg(dir.path().join("calls"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn();
        let Ok(child) = child else {
            skip(test, "strace is not installed");
            return None;
        };
        let mut tracer = Self { child, dir };
        let mut ended = false;
        wait_until(LIMIT, "strace is attached", || {
            ended = tracer.child.try_wait().unwrap().is_some();
            ended || all_traced(pid)
        });
        if ended {
            let errors = fs::read_to_string(tracer.dir.path().join("errors")).unwrap();
            skip(test, &format!("strace may not attach: {}", errors.trim()));
            return None;
        }
        Some(tracer)
    }

    /// How often the daemon was stopped so far.
    fn stops(&self) -> usize {
        self.calls().matches("--- SIGSTOP {").count()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn all_traced(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let status = |dir: &Path| fs::read_to_string(dir.join("status")).unwrap_or_default();
    tasks.into_iter().all(|task| {
        let status = status(&task.path());
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|pid| pid.trim() != "0")
    })
}

#[test]
fn a_kill_after_any_call_of_a_pull_costs_nothing() {
    let test = "a_kill_after_any_call_of_a_pull_costs_nothing";
    let registry = FakeRegistry::start();
    let weights = models::hello().bytes();
    let layers = [(WEIGHTS, weights.as_slice()), (LICENSE, b"Do what you like.\n")];
    let id = registry.model("ai/hello", &layers);
    let name = registry.reference("ai/hello");
    let body = json!({ "from": name }).to_string();
    let request = format!(
        "POST /models/create HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for kill_after in 1.. {
        let mut daemon = Daemon::builder().start();
        let Some(tracer) = Tracer::attach(test, daemon.pid()) else { return };
        let pulling = std::thread::spawn({
            let (client, request) = (daemon.client(), request.clone());
            move || client.raw(request.as_bytes()).map(|answer| answer.text())
        });
        let mut let_go = 0;
        let pid = daemon.pid().cast_signed();
        wait_until(LIMIT, "the pull ends or the call comes", || {
            let stops = tracer.stops();
            if stops >= kill_after || pulling.is_finished() {
                return true;
            }
            if stops > let_go {
                let_go = stops;
                send(pid, Signal::CONT);
            }
            false
        });
        let killed = tracer.stops() >= kill_after;
        daemon.kill();
        let told = pulling.join().expect("no panic");
        let calls = tracer.calls();
        drop(tracer);
        if !killed {
            let told = told.expect("an answer");
            assert!(told.contains("Model pulled successfully"), "{told}");
            let calls = kill_after - 1;
            eprintln!("a pull was killed after each of {calls} calls");
            assert!(calls >= 15, "only {calls} calls: is something not synced any more?");
            return;
        }
        daemon.start();
        let listed = daemon.client().get("/models").expect(200).json();
        if listed != json!([]) {
            assert_eq!(listed[0]["id"], json!(id), "after call {kill_after} of\n{calls}");
        }
        let told = pull(&daemon, &name);
        assert_eq!(told.last().unwrap()["model"], json!(id), "after call {kill_after} of\n{calls}");
        sound(&daemon.store(), &format!("call {kill_after} of\n{calls}"));
    }
}
