//! The store on real disks: full ones, ones that another program laid out, and what a daemon
//! leaves on them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::{modeld, spawn_ready};
use crate::support::gguf::Gguf;
use crate::support::http::{Address, Client, Response};
use crate::support::{Daemon, layout, models, skip};
use ::modeld::models::{PackageOptions, PackagePlan};
use ::modeld::store::Store;

const CHAT: &str = "/engines/v1/chat/completions";

/// A daemon whose store lies where the test says.
struct OnDisk {
    child: Child,
    dir: tempfile::TempDir,
}

impl OnDisk {
    /// With `mount`, a fresh file system with these options that only the daemon sees.
    fn start(dir: tempfile::TempDir, mount: Option<&str>) -> Self {
        let store = dir.path().join("models");
        std::fs::create_dir_all(&store).unwrap();
        let socket = dir.path().join("d.sock");
        let plain = modeld(dir.path(), &socket);
        let mut command = match mount {
            None => Command::new(plain.get_program()),
            Some(options) => {
                let mut command = Command::new("unshare");
                let script =
                    format!("mount -t tmpfs -o mode=700,{options} m \"$0\" && exec \"$@\"");
                command.args(["-Urm", "sh", "-c", &script]).arg(&store).arg(plain.get_program());
                command
            }
        };
        command.env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.arg("serve").arg("--socket").arg(&socket).arg("--models-path").arg(&store);
        let child = spawn_ready(command, dir.path());
        Self { child, dir }
    }

    fn client(&self) -> Client {
        Client { address: Address::Unix(self.dir.path().join("d.sock")) }
    }

    fn load(&self, archive: &[u8]) -> Response {
        let tar = [("Content-Type", "application/x-tar")];
        self.client().send("POST", "/models/load", &tar, archive)
    }

    /// The store as the daemon sees it.
    fn store(&self) -> PathBuf {
        let path = self.dir.path().canonicalize().unwrap().join("models");
        let inside = path.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.child.id().to_string()).join("root").join(inside)
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn archive(file: &Gguf) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let weights = dir.path().join("model.gguf");
    std::fs::write(&weights, file.bytes()).unwrap();
    let options = PackageOptions { weights, ..PackageOptions::default() };
    let mut tar = Vec::new();
    PackagePlan::new(&options).unwrap().write_tar(&mut tar, &mut |_| {}).unwrap();
    tar
}

/// Whether small file systems can be mounted here.
fn can_mount(test: &str) -> bool {
    let tried = Command::new("unshare")
        .args(["-Urm", "mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=9", "m", "/mnt"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        skip(test, "unshare cannot mount a file system here");
    }
    can
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

#[test]
fn a_full_disk_is_507_and_the_daemon_goes_on() {
    if !can_mount("a_full_disk_is_507_and_the_daemon_goes_on") {
        return;
    }
    // Over the 64 MiB that stay free in any case by less than the model.
    let archive = archive(&models::tiny());
    let size = (64 << 20) + archive.len() / 2;
    let mut daemon = OnDisk::start(tempfile::tempdir().unwrap(), Some(&format!("size={size}")));
    for _ in 0..3 {
        let answer = daemon.load(&archive).expect(507).text();
        assert!(answer.contains("needed") && answer.contains("free"), "{answer}");
        assert!(daemon.is_alive());
    }
    assert_eq!(daemon.client().get("/models").expect(200).json(), json!([]));
    assert_eq!(count(&daemon.store().join("ingest")), 0, "nothing is left");
    assert_eq!(count(&daemon.store().join("blobs/sha256")), 0, "nothing is left");
}

#[test]
fn a_disk_without_room_for_another_file_says_so() {
    if !can_mount("a_disk_without_room_for_another_file_says_so") {
        return;
    }
    let archive = archive(&models::tiny());
    let mut seen = Vec::new();
    // An empty store has 11 files and directories; each of these fails at another one.
    for inodes in 12..20 {
        let options = format!("size=512m,nr_inodes={inodes}");
        let mut daemon = OnDisk::start(tempfile::tempdir().unwrap(), Some(&options));
        let answer = daemon.load(&archive);
        assert!(daemon.is_alive());
        seen.push(answer.status);
        if answer.status == 200 {
            let id = answer.json()["message"].clone();
            assert_eq!(layout::problems(&daemon.store()), Vec::<String>::new(), "{id}");
            continue;
        }
        let text = answer.expect(507).text();
        assert!(text.contains("inodes"), "{inodes}: {text}");
        assert_eq!(daemon.client().get("/models").expect(200).json(), json!([]));
        assert_eq!(count(&daemon.store().join("blobs/sha256")), 0, "{inodes}");
        assert_eq!(count(&daemon.store().join("manifests/sha256")), 0, "{inodes}");
        assert_eq!(count(&daemon.store().join("ingest")), 0, "{inodes}");
    }
    assert!(seen.contains(&507) && seen.contains(&200), "{seen:?}");
}

#[test]
fn a_store_that_docker_model_runner_made_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("models");
    let id = layout::lay_out(&root, &models::hello().bytes());
    let daemon = OnDisk::start(dir, None);
    for name in ["ai/hand", "hf.co/made/by-hand:Q4_K_M", &id] {
        let found = daemon.client().get(&format!("/models/{name}")).expect(200).json();
        assert_eq!(found["id"], id, "{name}");
    }
    let body = json!({
        "model": "ai/hand", "messages": [{ "role": "user", "content": "Hi" }],
    });
    daemon.client().post(CHAT, &body).expect(200);
    let half = format!("blobs/sha256/{}.incomplete", "0".repeat(64));
    assert!(root.join(half).is_file(), "another program's download is not ours to remove");
    let path = "/models/ai/hand/tag?repo=docker.io/ai/again&tag=v1";
    daemon.client().send("POST", path, &[], b"").expect(201);
    let index: Value =
        serde_json::from_slice(&std::fs::read(root.join("models.json")).unwrap()).unwrap();
    assert_eq!(index["models"][0]["tags"].as_array().unwrap().len(), 3);
    assert_eq!(index["models"][1]["id"], format!("sha256:{}", "f".repeat(64)), "kept as it was");
    daemon.client().delete("/models/hf.co/made/by-hand:Q4_K_M").expect(200);
}

#[test]
fn what_a_daemon_leaves_is_a_store_of_docker_model_runner() {
    let mut daemon = Daemon::builder()
        .model("ai/tiny", &models::tiny())
        .model("myorg/hello:v1", &models::hello())
        .start();
    let root = daemon.dir().join("models");
    let sound = |after: &str| {
        assert_eq!(layout::problems(&root), Vec::<String>::new(), "after {after}");
    };
    sound("two models came");
    let path = "/models/ai/tiny/tag?repo=docker.io/ai/other&tag=v1";
    daemon.client().send("POST", path, &[], b"").expect(201);
    sound("a tag");
    daemon.client().delete("/models/ai/tiny").expect(200);
    sound("a tag went");
    daemon.client().delete("/models/ai/other:v1").expect(200);
    sound("a model went");
    assert!(daemon.stop().success());
    sound("the end");
    Store::open(&root).unwrap().purge().unwrap();
    sound("a purge");
    assert_eq!(count(&root.join("blobs/sha256")), 0);
    // The check itself must be able to fail.
    std::fs::write(root.join("blobs/sha256").join("0".repeat(64)), b"x").unwrap();
    assert!(!layout::problems(&root).is_empty());
}
