use std::time::Duration;

use http::header::DATE;
use url::Url;

use super::clock;
use super::finding::Finding;
use super::patient::Patient;
use crate::config::Config;
use crate::registry::RegistryHost;
use crate::registry::egress::{Egress, EgressOptions, EgressRequest, Proxies};

const CHECK: &str = "registry";
/// How long one of them may take in all.
const PATIENCE: Duration = Duration::from_secs(6);

/// Whether models can be pulled: asks the registries for nothing, the way a daemon would, through
/// the same proxies. Also answers the date that one of them has.
pub(super) async fn check(patient: &Patient) -> (Vec<Finding>, Option<i64>) {
    if patient.offline {
        return (vec![Finding::ok(CHECK, "not asked (--offline)")], None);
    }
    let Ok(config) = &patient.config else { return (Vec::new(), None) };
    let egress = match egress(patient, config) {
        Ok(egress) => egress,
        Err(problem) => {
            let fix = "correct --registry-ca, --insecure-registry or the proxy's variable";
            return (vec![Finding::fail(CHECK, problem, fix)], None);
        }
    };
    let docker = docker_hub(config, &egress);
    let (docker, hub) =
        tokio::join!(ask(&egress, docker.as_ref()), ask(&egress, Some(&config.hub_url.value)));
    let date = docker.as_ref().ok().or(hub.as_ref().ok()).and_then(|answer| answer.date);
    (vec![judge("Docker Hub", docker), judge("the Hugging Face Hub", hub)], date)
}

/// Who answered.
struct Answer {
    host: String,
    status: u16,
    date: Option<i64>,
}

async fn ask(egress: &Egress, url: Option<&Url>) -> Result<Answer, String> {
    let url = url.ok_or_else(|| "its address cannot be read".to_owned())?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let request = EgressRequest::get(url.clone(), url.clone());
    match tokio::time::timeout(PATIENCE, egress.send(request)).await {
        Ok(Ok(answer)) => {
            let date = answer.headers.get(DATE).and_then(|value| value.to_str().ok());
            let date = date.and_then(clock::date);
            Ok(Answer { host, status: answer.status.as_u16(), date })
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("{host} does not answer within {} s", PATIENCE.as_secs())),
    }
}

fn judge(name: &str, answer: Result<Answer, String>) -> Finding {
    match answer {
        // Whatever it says to a stranger, it can be reached.
        Ok(Answer { host, status, .. }) if status < 500 && status != 407 => {
            Finding::ok(CHECK, format!("{name} can be reached ({host}, status {status})"))
        }
        Ok(Answer { host, status, .. }) => Finding::warn(
            CHECK,
            format!("{name} answers {status} ({host})"),
            "try again later, or look at the proxy in between",
        ),
        Err(problem) => Finding::warn(
            CHECK,
            format!("{name} cannot be reached: {problem}"),
            "models that are there run all the same; behind a proxy set HTTPS_PROXY, for one's own \
             registry --registry-mirror",
        ),
    }
}

/// The mirror of Docker Hub, if there is one, else itself.
fn docker_hub(config: &Config, egress: &Egress) -> Option<Url> {
    let mirrors = &config.registry_mirrors.value;
    let mirror = mirrors.iter().find(|mirror| mirror.registry == "docker.io");
    let base = match mirror {
        Some(mirror) => mirror.url.clone(),
        None => RegistryHost::parse("docker.io", egress).ok()?.endpoint,
    };
    let path = format!("{}/v2/", base.path().trim_end_matches('/'));
    let mut url = base;
    url.set_path(&path);
    Some(url)
}

fn egress(patient: &Patient, config: &Config) -> Result<Egress, String> {
    let proxies = Proxies::from_variables(|name| patient.variables.get(name));
    let options = EgressOptions {
        connect: PATIENCE,
        first_byte: PATIENCE,
        ..EgressOptions::of(config, proxies)
    };
    Egress::new(options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::finding::Verdict;
    use super::super::patient::testing::patient;
    use super::*;
    use crate::config::{RawConfig, resolve};

    #[tokio::test]
    async fn whoever_answers_can_be_reached_and_tells_the_time() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 2048];
                let length = stream.read(&mut request).await.unwrap();
                let asked = String::from_utf8_lossy(&request[..length]).into_owned();
                let status = if asked.starts_with("GET /hub/v2/ ") { 401 } else { 200 };
                let head = format!(
                    "HTTP/1.1 {status} X\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                     Content-Length: 0\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await.unwrap();
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let mut patient = patient(dir.path());
        patient.offline = false;
        let raw = RawConfig {
            registry_mirror: Some(format!("{place}/hub")),
            hub_url: Some(place),
            ..RawConfig::default()
        };
        patient.config = resolve(&raw, &patient.env);
        let (found, date) = check(&patient).await;
        assert_eq!(date, Some(784_111_777));
        assert!(found[0].message.contains("status 401"), "{found:?}");
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Ok), "{found:?}");
    }

    #[tokio::test]
    async fn nobody_there_is_worth_a_warning_and_no_failure() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut patient = patient(dir.path());
        patient.offline = false;
        let place = format!("http://{closed}");
        let raw = RawConfig {
            registry_mirror: Some(place.clone()),
            hub_url: Some(place),
            ..RawConfig::default()
        };
        patient.config = resolve(&raw, &patient.env);
        let (found, date) = check(&patient).await;
        assert_eq!(date, None);
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Warn), "{found:?}");
    }
}
