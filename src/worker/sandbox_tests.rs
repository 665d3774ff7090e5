//! What a confined process can still do, tried from the inside.
//!
//! Confinement is for good, so a child process is confined: this test program again, told by its
//! arguments to run one test and by a variable where to play. It goes through the same function as a
//! worker and reports every attempt.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends by a panic; the child reports through its standard output"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, getppid, pidfd_open, prlimit};

use super::sandbox::confine;
use crate::protocol::{LoadSpec, Purpose};

const PLACE: &str = "MODELD_TEST_CONFINED";

fn spec(place: &Path) -> LoadSpec {
    LoadSpec {
        purpose: Purpose::Generate,
        name: "test".into(),
        weights: place.join("model.gguf"),
        mmproj: None,
        chat_template: None,
        adapters: vec![],
        readable: vec![],
        context_size: 1,
        max_sequences: 1,
        threads: 1,
    }
}

/// Runs in the child alone.
#[test]
#[ignore = "confines the process that runs it"]
fn child() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let own = UnixStream::pair().unwrap();
    let parent = getppid().unwrap();
    super::process::harden();
    say("confined", &Ok::<_, io::Error>(confine(&spec(&place))));
    for (name, result) in attempts(&place, parent) {
        say(name, &result);
    }
    let (mut near, mut far) = own;
    near.write_all(b"x").unwrap();
    say("its own socket", &far.read_exact(&mut [0]));
    say("a thread", &std::thread::Builder::new().spawn(|| ()).map(|t| t.join().unwrap()));
    say(
        "signal itself",
        &rustix::process::test_kill_process(rustix::process::getpid()).map_err(io::Error::from),
    );
    say("core", &Ok::<_, io::Error>(rustix::process::getrlimit(Resource::Core)));
    say("dumpable", &rustix::process::dumpable_behavior().map_err(io::Error::from));
    say("no new privileges", &rustix::thread::no_new_privs().map_err(io::Error::from));
}

fn say<T: Debug>(name: &str, result: &io::Result<T>) {
    let result = match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error {:?}", error.raw_os_error()),
    };
    println!("\ntried: {name} = {result}");
}

fn attempts(place: &Path, parent: Pid) -> Vec<(&'static str, io::Result<()>)> {
    let secret = place.join("secret");
    let model = place.join("model.gguf");
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 },
        last_modification: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 },
    };
    let of_parent = |file: &str| format!("/proc/{}/{file}", parent.as_raw_nonzero());
    vec![
        ("read the model", fs::read(&model).map(drop)),
        ("read a file", fs::read(&secret).map(drop)),
        ("write a file", OpenOptions::new().write(true).open(&secret).map(drop)),
        ("write the model", OpenOptions::new().write(true).open(&model).map(drop)),
        ("make a file", File::create(place.join("new")).map(drop)),
        ("make a directory", fs::create_dir(place.join("dir"))),
        ("remove a file", fs::remove_file(&secret)),
        ("rename a file", fs::rename(&secret, place.join("moved"))),
        ("list a directory", fs::read_dir(place).map(drop)),
        ("change a mode", fs::set_permissions(&secret, fs::Permissions::from_mode(0o777))),
        ("change an owner", std::os::unix::fs::chown(&secret, Some(1), None)),
        (
            "change a time",
            rustix::fs::utimensat(rustix::fs::CWD, &secret, &times, rustix::fs::AtFlags::empty())
                .map_err(io::Error::from),
        ),
        ("connect over TCP", TcpStream::connect("127.0.0.1:1").map(drop)),
        ("listen on TCP", TcpListener::bind("127.0.0.1:0").map(drop)),
        ("open UDP", UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("connect to a Unix socket", UnixStream::connect(place.join("daemon.sock")).map(drop)),
        ("listen on a Unix socket", UnixListener::bind(place.join("own.sock")).map(drop)),
        ("open a datagram socket", UnixDatagram::unbound().map(drop)),
        ("open a pair of datagram sockets", UnixDatagram::pair().map(drop)),
        ("start a program", Command::new("/bin/true").spawn().map(drop)),
        ("become a program", Err(Command::new("/bin/true").exec())),
        ("become a program of its own", program_in_memory()),
        ("reach the daemon's open files", File::open(of_parent("fd/0")).map(drop)),
        ("read the daemon's memory", File::open(of_parent("mem")).map(drop)),
        ("read the daemon's environment", something(&of_parent("environ"))),
        ("signal the daemon", rustix::process::test_kill_process(parent).map_err(io::Error::from)),
        (
            "hold the daemon's process",
            pidfd_open(parent, PidfdFlags::empty()).map(drop).map_err(io::Error::from),
        ),
        (
            "limit the daemon",
            prlimit(Some(parent), Resource::Nofile, Rlimit { current: Some(3), maximum: None })
                .map(drop)
                .map_err(io::Error::from),
        ),
    ]
}

/// A copy of a program in memory, which no rule about files covers.
fn program_in_memory() -> io::Result<()> {
    let memory = rustix::fs::memfd_create("program", rustix::fs::MemfdFlags::empty())?;
    let mut memory = File::from(memory);
    memory.write_all(&fs::read("/usr/bin/true")?)?;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    Err(Command::new(path).exec())
}

/// An open that succeeds and then reads nothing is a refusal, too.
fn something(path: &str) -> io::Result<()> {
    let bytes = File::open(path)?.read(&mut [0; 16])?;
    if bytes == 0 { Err(rustix::io::Errno::ACCESS.into()) } else { Ok(()) }
}

/// A child's report, by attempt.
fn reported(place: &Path) -> BTreeMap<String, String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["worker::sandbox_tests::child", "--exact", "--ignored", "--nocapture"])
        .args(["--test-threads", "1"])
        .env(PLACE, place)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let lines = text.lines().filter_map(|line| line.strip_prefix("tried: ")?.split_once(" = "));
    lines.map(|(name, result)| (name.to_owned(), result.to_owned())).collect()
}

#[test]
fn a_confined_process_reads_its_model_and_can_do_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    fs::write(place.join("model.gguf"), "weights").unwrap();
    fs::write(place.join("secret"), "token").unwrap();
    let _daemon = UnixListener::bind(place.join("daemon.sock")).unwrap();
    let reported = reported(place);
    let confined = reported["confined"].clone();
    let got = |name: &str| reported.get(name).unwrap_or_else(|| panic!("no {name}: {reported:?}"));

    for fine in ["read the model", "its own socket", "a thread", "signal itself"] {
        assert_eq!(got(fine), "()", "{fine}: {reported:?}");
    }
    assert_eq!(got("no new privileges"), "true");
    assert_eq!(got("dumpable"), "NotDumpable");
    assert_eq!(got("core"), "Rlimit { current: Some(0), maximum: Some(0) }");
    let refused = |name: &str, errno: i32| {
        assert_eq!(*got(name), format!("error Some({errno})"), "{name}: {reported:?}");
    };
    if confined.contains("seccomp: none") {
        println!("skipped: {confined}");
    } else {
        for name in [
            "change a mode",
            "change an owner",
            "change a time",
            "connect over TCP",
            "listen on TCP",
            "open UDP",
            "connect to a Unix socket",
            "listen on a Unix socket",
            "open a datagram socket",
            "open a pair of datagram sockets",
            "start a program",
            "become a program",
            "become a program of its own",
            "signal the daemon",
            "hold the daemon's process",
            "limit the daemon",
        ] {
            refused(name, libc::EPERM);
        }
    }
    if confined.contains("no Landlock") || confined.contains("Landlock failed") {
        println!("skipped: {confined}");
        return;
    }
    for name in [
        "read a file",
        "write a file",
        "write the model",
        "make a file",
        "make a directory",
        "remove a file",
        "rename a file",
        "list a directory",
        "read the daemon's memory",
        "read the daemon's environment",
        "reach the daemon's open files",
    ] {
        refused(name, libc::EACCES);
    }
    assert_eq!(fs::read_to_string(place.join("secret")).unwrap(), "token");
}
