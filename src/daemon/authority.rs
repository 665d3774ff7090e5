use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::DaemonError;
use crate::certificates::Validity;
use crate::config::AUTHORITY_FILE as FILE;
use crate::files::{self, ReadError};

/// More than any such file has.
const MAX_BYTES: u64 = 64 << 10;
/// The last day of the authority is so many days after its first.
const AUTHORITY_DAYS: i32 = 3_650;
/// The longest that Apple's systems accept; a new one is made at each start.
const CERTIFICATE_DAYS: i32 = 825;
/// What to say of a file that is something else.
const BROKEN: &str = "it does not hold a certificate and its key; remove it, and another is made, \
                      which clients have to trust anew";

/// An authority of one's own, which signs the certificate of `--tls self-signed`. Clients that trust
/// it once trust every daemon of this user from then on.
pub(super) struct Authority {
    path: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The certificate of this user's own authority in PEM, for clients to trust, and why they will not
/// today, if they will not; it is made where there is none.
///
/// # Errors
/// [`DaemonError::Authority`], [`DaemonError::Io`].
pub fn authority_certificate(config_dir: &Path) -> Result<(String, Option<String>), DaemonError> {
    let authority = Authority::load_or_create(config_dir)?;
    let problem = authority.problem(Timestamp::now());
    Ok((authority.certificate, problem))
}

impl Authority {
    pub(super) fn load_or_create(config_dir: &Path) -> Result<Self, DaemonError> {
        let path = config_dir.join(FILE);
        let found = match read(&path)? {
            Some(text) => Some(text),
            None => {
                create(&path)?;
                read(&path)?
            }
        };
        // Something is there, or another would have been made, and it leads nowhere.
        let problem = || "it is a link to a file that is not there; remove it".to_owned();
        let parsed = found.ok_or_else(problem).and_then(|text| Self::parse(&path, &text));
        parsed.map_err(|problem| DaemonError::Authority { path, problem })
    }

    fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let end = "-----END CERTIFICATE-----\n";
        let at = text.find(end).and_then(|at| at.checked_add(end.len())).ok_or(BROKEN)?;
        let (certificate, key) = text.split_at_checked(at).ok_or(BROKEN)?;
        let key = KeyPair::from_pem(key).map_err(|_| BROKEN)?;
        let issuer = Issuer::new(authority_params()?, key);
        Ok(Self { path: path.to_owned(), certificate: certificate.to_owned(), issuer })
    }

    /// Why nobody believes it at a time, and what to do; `None`: whoever trusts it does. One that was
    /// made while the clock was wrong is not replaced unasked: the clock may be wrong now.
    pub(super) fn problem(&self, now: Timestamp) -> Option<String> {
        let problem = Validity::of_pem(self.certificate.as_bytes())?.problem(now)?;
        Some(format!(
            "modeld's own authority in {} {problem}; if the clock is right, remove the file and \
             start modeld again: another is made, which clients have to trust anew",
            self.path.display()
        ))
    }

    /// A certificate for these names and addresses, from the day before `now` on, and its key.
    ///
    /// # Errors
    /// What is wrong with the names.
    pub(super) fn issue(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let (certificate, key) = self.sign(names, now).map_err(|e| e.to_string())?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key)))
    }

    #[cfg(test)]
    pub(super) fn issue_pem(&self, names: &[String]) -> Result<(String, String), String> {
        let (certificate, key) = self.sign(names, Timestamp::now()).map_err(|e| e.to_string())?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    fn sign(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(rcgen::Certificate, KeyPair), rcgen::Error> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name.push(DnType::CommonName, "modeld");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        lasts(&mut params, now, CERTIFICATE_DAYS);
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }
}

/// What the authority's own certificate says. Certificates name their issuer by this, so it stays as
/// it is for all authorities that were ever made; their keys tell them apart.
fn authority_params() -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(Vec::new()).map_err(|e| e.to_string())?;
    params.distinguished_name.push(DnType::OrganizationName, "modeld");
    params.distinguished_name.push(DnType::CommonName, "modeld on this user's machine");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// From the day before on, since clocks differ.
fn lasts(params: &mut CertificateParams, now: Timestamp, days: i32) {
    let today = now.to_zoned(TimeZone::UTC).date();
    let begin = today.yesterday().unwrap_or(today);
    let end = begin.saturating_add(jiff::Span::new().days(days));
    let time = |date: Date| {
        let small = |number: i8| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(date.year().into(), small(date.month()), small(date.day()))
    };
    (params.not_before, params.not_after) = (time(begin), time(end));
}

/// Makes an authority, unless another process has done so meanwhile.
fn create(path: &Path) -> Result<(), DaemonError> {
    let problem = |problem: String| DaemonError::Authority { path: path.to_owned(), problem };
    let doing = |e: std::io::Error| DaemonError::io(format!("write {}", path.display()), e);
    let mut params = authority_params().map_err(problem)?;
    lasts(&mut params, Timestamp::now(), AUTHORITY_DAYS);
    let key = KeyPair::generate().map_err(|e| problem(e.to_string()))?;
    let certificate = params.self_signed(&key).map_err(|e| problem(e.to_string()))?;
    let text = format!("{}{}", certificate.pem().replace("\r\n", "\n"), key.serialize_pem());
    files::make_private_dir(path.parent().unwrap_or(Path::new("."))).map_err(doing)?;
    match files::create(path, text.as_bytes(), 0o600) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(doing(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<String>, DaemonError> {
    let doing = |e: std::io::Error| DaemonError::io(format!("read {}", path.display()), e);
    let refused = |problem| DaemonError::Authority { path: PathBuf::from(path), problem };
    let file = match files::open_regular(path) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(None),
        Err(ReadError::Io(error)) => return Err(doing(error)),
        Err(other) => return Err(refused(format!("it {other}"))),
    };
    let ours = file.owner() == rustix::process::geteuid().as_raw();
    if !ours || file.mode() & 0o077 != 0 {
        return Err(refused(format!(
            "its key may be known to others (uid {}, mode {:o}); remove it, and another is made, \
             which clients have to trust anew",
            file.owner(),
            file.mode()
        )));
    }
    let bytes = file.read(MAX_BYTES).map_err(|error| doing(error.into()))?;
    String::from_utf8(bytes).map(Some).map_err(|_| refused(BROKEN.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nonexistent/authority", dir.path().join(FILE)).unwrap();
        let refused = authority_certificate(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("a link to a file that is not there"), "{refused}");
    }

    #[test]
    fn an_authority_is_believed_for_ten_years() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(dir.path()).unwrap();
        let in_years = |years: i64| Timestamp::now() + jiff::Span::new().hours(years * 8_766);
        assert_eq!(authority.problem(in_years(9)), None);
        let problem = authority.problem(in_years(11)).unwrap();
        assert!(problem.contains(FILE) && problem.contains("held until"), "{problem}");
        assert!(authority.problem(in_years(-5)).unwrap().contains("holds from"));
    }

    #[test]
    fn an_authority_is_made_once_and_for_its_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (made, problem) = authority_certificate(&dir.path().join("modeld")).unwrap();
        assert_eq!(problem, None);
        let path = dir.path().join("modeld").join(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(made.starts_with("-----BEGIN CERTIFICATE-----\n") && !made.contains("PRIVATE"));
        assert_eq!(authority_certificate(&dir.path().join("modeld")).unwrap().0, made);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = authority_certificate(&dir.path().join("modeld")).unwrap_err().to_string();
        assert!(refused.contains("mode 640"), "{refused}");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "nothing").unwrap();
        assert!(authority_certificate(&dir.path().join("modeld")).is_err());
    }
}
