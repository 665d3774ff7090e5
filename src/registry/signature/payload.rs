use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::Digest;

use super::demand::Flaw;
use super::pattern::repository_in;

/// What a payload calls itself.
const KIND: &str = "cosign container image signature";
/// How much of what a payload says is shown.
const SHOWN_CHARS: usize = 100;

/// What is signed. A reader has to refuse members of `critical` that it does not know
/// (<https://github.com/containers/image/blob/main/docs/containers-signature.5.md>).
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
    #[serde(rename = "optional")]
    _optional: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Identity {
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

/// Checks that a payload speaks of this manifest in this repository.
pub(super) fn check(payload: &[u8], manifest: Digest, repository: &str) -> Result<(), Flaw> {
    let Payload { critical, _optional } =
        serde_json::from_slice(payload).map_err(|e| Flaw::NoPayload(short(&e.to_string())))?;
    let Critical { identity, image, kind } = critical;
    if kind != KIND {
        return Err(Flaw::OtherKind(short(&kind)));
    }
    if image.docker_manifest_digest != manifest.to_string() {
        return Err(Flaw::OtherManifest(short(&image.docker_manifest_digest)));
    }
    let name = identity.docker_reference;
    if !name.is_empty() && repository_in(&name).as_deref() != Some(repository) {
        return Err(Flaw::OtherRepository(short(&name)));
    }
    Ok(())
}

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn payload() -> Value {
        json!({
            "critical": {
                "identity": {"docker-reference": "index.docker.io/myorg/m"},
                "image": {"docker-manifest-digest": Digest::of(b"m").to_string()},
                "type": "cosign container image signature",
            },
            "optional": {"creator": "x", "timestamp": 1},
        })
    }

    fn checked(pointer: &str, value: Value) -> Result<(), Flaw> {
        let mut changed = payload();
        *changed.pointer_mut(pointer).unwrap() = value;
        check(changed.to_string().as_bytes(), Digest::of(b"m"), "docker.io/myorg/m")
    }

    #[test]
    fn a_payload_is_for_one_manifest_in_one_repository() {
        let name = "/critical/identity/docker-reference";
        for same in ["", "docker.io/myorg/m", "myorg/m:v1", "registry-1.docker.io/myorg/m"] {
            assert_eq!(checked(name, json!(same)), Ok(()), "{same}");
        }
        for other in ["docker.io/myorg/n", "ghcr.io/myorg/m", "myorg/m/n", " ", "://", "m"] {
            let flaw = checked(name, json!(other)).unwrap_err();
            assert_eq!(flaw, Flaw::OtherRepository(other.to_owned()));
        }
        let digest = "/critical/image/docker-manifest-digest";
        let right = Digest::of(b"m").to_string();
        for other in [Digest::of(b"n").to_string(), right.to_uppercase(), String::new()] {
            let flaw = checked(digest, json!(other)).unwrap_err();
            assert_eq!(flaw, Flaw::OtherManifest(other));
        }
        let atomic = checked("/critical/type", json!("atomic container signature")).unwrap_err();
        assert!(matches!(atomic, Flaw::OtherKind(_)), "{atomic}");
        assert_eq!(checked("/optional", Value::Null), Ok(()));
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        let mut more = payload();
        more["critical"]["expires"] = json!(0);
        let mut less = payload();
        less["critical"]["identity"] = json!({});
        let good = payload().to_string();
        let twice = good.replacen("{\"critical\":", "{\"critical\":{},\"critical\":", 1);
        let deep = format!("{{\"optional\":{}", "[".repeat(60_000));
        for text in ["", "null", "[]", &more.to_string(), &less.to_string(), &twice, &deep] {
            let flaw = check(text.as_bytes(), Digest::of(b"m"), "docker.io/myorg/m").unwrap_err();
            assert!(matches!(flaw, Flaw::NoPayload(_)), "{text:.80}: {flaw}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_payload_is_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            proptest::prop_assert!(check(&bytes, Digest::of(b"m"), "docker.io/myorg/m").is_err());
        }
    }
}
