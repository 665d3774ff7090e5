use std::net::SocketAddr;

use super::finding::Finding;
use super::patient::Patient;
use super::port::{PortHolder, port_holder};
use crate::config::TCP_PORT;

const CHECK: &str = "ports";
/// Where clients of Ollama look.
const OLLAMA_PORT: u16 = 11434;

/// The ports that modeld is to listen on, and those where clients look.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let config = patient.config.as_ref().ok();
    let wanted =
        [config.and_then(|config| config.tcp.value), config.and_then(|config| config.ollama.value)];
    let mut all: Vec<(SocketAddr, bool)> =
        wanted.into_iter().flatten().filter(|at| at.port() != 0).map(|at| (at, true)).collect();
    for port in [TCP_PORT, OLLAMA_PORT] {
        if !all.iter().any(|(at, _)| at.port() == port) {
            all.push((SocketAddr::from(([127, 0, 0, 1], port)), false));
        }
    }
    all.into_iter().map(|(at, wanted)| judge(at, wanted, port_holder(at).as_ref())).collect()
}

fn judge(address: SocketAddr, wanted: bool, holder: Option<&PortHolder>) -> Finding {
    let Some(holder) = holder else {
        return Finding::ok(CHECK, format!("{address} is free"));
    };
    let text = format!("{address} is held by {holder}");
    let name = holder.process.as_ref().map(|(_, name)| name.as_str()).unwrap_or_default();
    match (wanted, name) {
        (_, "modeld") => Finding::ok(CHECK, text),
        // The service manager, for modeld-tcp.socket.
        (_, "systemd") => Finding::ok(CHECK, text),
        (true, _) => Finding::fail(
            CHECK,
            format!("{text}; modeld is to listen there"),
            "end that program, or choose another port: modeld tcp enable --port N, --ollama-port",
        ),
        (false, _) if address.port() == OLLAMA_PORT => Finding::ok(
            CHECK,
            format!(
                "{text}; clients of Ollama reach that, `modeld import --scan` takes its models"
            ),
        ),
        (false, _) => Finding::warn(
            CHECK,
            format!("{text}; clients of Docker Model Runner reach that and not modeld"),
            "nothing, if that is meant; else end it, and: modeld tcp enable",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn whoever_holds_a_port_is_named_and_judged() {
        let other = |name: &str| PortHolder { uid: 1, process: Some((7, name.to_owned())) };
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for (port, wanted, holder, verdict) in [
            (12434, true, None, Verdict::Ok),
            (12434, true, Some(other("modeld")), Verdict::Ok),
            (12434, true, Some(other("docker-proxy")), Verdict::Fail),
            (12434, false, Some(other("docker-proxy")), Verdict::Warn),
            (11434, false, Some(other("ollama")), Verdict::Ok),
            (11434, true, Some(other("ollama")), Verdict::Fail),
            (9000, true, Some(PortHolder { uid: 0, process: None }), Verdict::Fail),
        ] {
            let finding = judge(at(port), wanted, holder.as_ref());
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            if let Some((_, name)) = holder.and_then(|holder| holder.process) {
                assert!(finding.message.contains(&format!("{name} (pid 7)")), "{finding:?}");
            }
        }
    }
}
