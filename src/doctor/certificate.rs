use jiff::Timestamp;

use super::finding::Finding;
use super::patient::Patient;
use crate::certificates::Validity;
use crate::config::{AUTHORITY_FILE, Tls};
use crate::files::{read_regular, shell_word};

const CHECK: &str = "certificate";
/// A chain of certificates and a key take a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;
/// So long before its end somebody should hear of it.
const SOON_DAYS: i64 = 14;

/// Whether what `--tcp` shows for itself is one that clients believe today; nothing where it speaks no
/// TLS.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let tls = patient.usable.as_ref().and_then(|config| config.tls.value.as_ref());
    let (path, renew) = match tls {
        None => return Vec::new(),
        Some(Tls::Files { cert, .. }) => (
            cert.clone(),
            "put the renewed certificate and its key there; they are read at once".to_owned(),
        ),
        Some(Tls::SelfSigned) => {
            let Some(dir) = patient.env.own_dir() else { return Vec::new() };
            let path = dir.join(AUTHORITY_FILE);
            if !path.exists() {
                return vec![Finding::ok(CHECK, "the authority is made with the first start")];
            }
            let file = shell_word(&path);
            (
                path,
                format!(
                    "set the clock if it is wrong; else rm {file}, restart modeld, and have clients trust `modeld tls ca` anew"
                ),
            )
        }
    };
    let shown = path.display();
    // The daemon says what is wrong with the file itself when it starts.
    let read = read_regular(&path, MAX_BYTES);
    let Some(validity) = read.as_deref().ok().and_then(Validity::of_pem) else {
        let problem = read.err().map_or("has no certificate in PEM".to_owned(), |e| e.to_string());
        return vec![Finding::fail(CHECK, format!("{shown}: it {problem}"), renew)];
    };
    let now = Timestamp::now();
    if let Some(problem) = validity.problem(now) {
        return vec![Finding::fail(CHECK, format!("{shown} {problem}"), renew)];
    }
    if !validity.lasts(now, SOON_DAYS) {
        let text = format!("{shown} ends within {SOON_DAYS} days");
        return vec![Finding::warn(CHECK, text, renew)];
    }
    vec![Finding::ok(CHECK, format!("{shown} holds today"))]
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::super::patient::testing::{file, patient};
    use super::*;

    #[test]
    fn a_certificate_that_is_over_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut patient = patient(dir.path());
        assert_eq!(check(&patient), []);
        let pem = |until: Timestamp| {
            let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
            let time = std::time::SystemTime::from(until);
            params.not_after = time.into();
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
        };
        let hours = |hours| Timestamp::now() + jiff::Span::new().hours(hours);
        for (text, verdict) in [
            (pem(hours(24 * 60)), Verdict::Ok),
            (pem(hours(24 * 3)), Verdict::Warn),
            (pem(hours(-24)), Verdict::Fail),
            ("nothing".to_owned(), Verdict::Fail),
        ] {
            let cert = file(dir.path(), "cert.pem", &text);
            let tls = Tls::Files { cert, key: "/none".into() };
            patient.usable.as_mut().unwrap().tls.value = Some(tls);
            let found = check(&patient);
            assert_eq!(found[0].verdict, verdict, "{found:?}");
        }
        patient.usable.as_mut().unwrap().tls.value = Some(Tls::SelfSigned);
        assert_eq!(check(&patient)[0].verdict, Verdict::Ok);
    }
}
