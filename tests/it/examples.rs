//! The examples name the paths, ports, hosts and flags that the program has.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use modeld::cli::{Cli, Command};
use modeld::config::{Env, RawConfig, resolve};
use serde_json::Value;

use crate::support::Daemon;

/// What containers call their host.
const HOST: &str = "model-runner.docker.internal";

fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/examples").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // JSON is YAML, but a development container's file has to be JSON for everybody.
    match name.ends_with(".json") {
        true => serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}")),
        false => serde_yaml_ng::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}")),
    }
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap_or_else(|| panic!("a list: {value}"));
    list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The socket below the runtime directory, and the port of the bare `--tcp`.
fn defaults() -> (PathBuf, u16) {
    let runtime = PathBuf::from("/run/user/7");
    let env = Env {
        runtime_dir: Some(runtime.clone()),
        home: Some("/h".into()),
        data_dir: Some("/h/data".into()),
        ..Env::default()
    };
    let raw = RawConfig { tcp: Some(String::new()), ..RawConfig::default() };
    let config = resolve(&raw, &env).unwrap();
    let socket = config.socket.value.strip_prefix(&runtime).unwrap().to_owned();
    (socket, config.tcp.value.unwrap().port())
}

#[test]
fn compose_mounts_the_sockets_directory_and_names_the_port() {
    let (socket, port) = defaults();
    let file = example("compose/compose.yaml");
    let over_socket = &file["services"]["over-socket"];
    let [volume] = &words(&over_socket["volumes"])[..] else { panic!("one volume") };
    let below = socket.parent().unwrap().display();
    assert!(
        volume.starts_with("${XDG_RUNTIME_DIR")
            && volume.contains(&format!("}}/{below}:/run/modeld"))
    );
    let inside = Path::new("/run/modeld").join(socket.file_name().unwrap());
    let command = words(&over_socket["command"]);
    assert!(command.windows(2).any(|pair| pair == ["--unix-socket", inside.to_str().unwrap()]));
    let over_tcp = &file["services"]["over-tcp"];
    assert_eq!(words(&over_tcp["extra_hosts"]), [format!("{HOST}:host-gateway")]);
    let base = format!("http://{HOST}:{port}/engines/v1");
    assert_eq!(over_tcp["environment"]["OPENAI_BASE_URL"], base.as_str());
    assert_eq!(words(&over_tcp["command"]).last(), Some(&format!("{base}/models")));
}

#[test]
fn the_development_container_does_too() {
    let (socket, port) = defaults();
    let file = example("devcontainer/.devcontainer/devcontainer.json");
    assert_eq!(words(&file["runArgs"]), [format!("--add-host={HOST}:host-gateway")]);
    let source =
        format!("source=${{localEnv:XDG_RUNTIME_DIR}}/{}", socket.parent().unwrap().display());
    assert_eq!(words(&file["mounts"]), [format!("{source},target=/run/modeld,type=bind")]);
    let env = &file["containerEnv"];
    assert_eq!(env["OPENAI_BASE_URL"], format!("http://{HOST}:{port}/engines/v1"));
    let name = socket.file_name().unwrap().to_str().unwrap();
    assert_eq!(env["MODELD_HOST"], format!("unix:///run/modeld/{name}"));
}

#[test]
fn the_sidecar_is_started_with_flags_that_exist_where_its_clients_look() {
    let pod = example("kubernetes/pod.yaml");
    let sidecar = &pod["spec"]["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always", "a sidecar goes on running");
    let args = words(&sidecar["args"]);
    let cli = Cli::try_parse_from(["modeld".to_owned()].into_iter().chain(args.clone())).unwrap();
    assert!(matches!(cli.command, Command::Serve(_)));
    let flag = |name: &str| {
        let args = args.iter();
        args.filter_map(|arg| arg.strip_prefix(name)?.strip_prefix('=')).next().unwrap().to_owned()
    };
    let host = format!("unix://{}", flag("--socket"));
    let probe = words(&sidecar["startupProbe"]["exec"]["command"]);
    let probe = Cli::try_parse_from(&probe).unwrap();
    assert_eq!(probe.host.as_deref(), Some(host.as_str()));
    let app = &pod["spec"]["containers"][0];
    let variable = |name: &str| {
        let all = app["env"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(variable("MODELD_HOST"), host);
    let base = format!("http://127.0.0.1:{}/engines/v1", flag("--tcp"));
    assert_eq!(variable("OPENAI_BASE_URL"), base);
    // Whose directory it is: modeld makes its own below the volume, which belongs to everybody.
    let mount =
        |container: &Value| container["volumeMounts"][0]["mountPath"].as_str().unwrap().to_owned();
    assert_eq!(mount(app), mount(sidecar));
    let dir = PathBuf::from(flag("--socket")).parent().unwrap().to_owned();
    assert_eq!(dir.parent(), Some(Path::new(&mount(app))));
}

#[test]
fn the_hosts_name_in_containers_is_one_that_is_answered_to() {
    let daemon = Daemon::builder().tcp().start();
    let host = format!("{HOST}:{}", daemon.port().port());
    daemon.tcp_client().send("GET", "/engines/v1/models", &[("Host", &host)], b"").expect(200);
}
