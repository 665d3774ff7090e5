use jiff::{Span, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// From when to when a certificate holds (RFC 5280 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    begin: Timestamp,
    end: Timestamp,
}

impl Validity {
    /// Of a certificate in DER; `None` for what is none.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let said = certificate.validity();
        let time = |seconds| Timestamp::from_second(seconds).ok();
        let (begin, end) = (time(said.not_before.timestamp())?, time(said.not_after.timestamp())?);
        Some(Self { begin, end })
    }

    /// Of the first certificate in PEM; `None` where there is none.
    pub fn of_pem(pem: &[u8]) -> Option<Self> {
        Self::of_der(&CertificateDer::from_pem_slice(pem).ok()?)
    }

    /// What is wrong at a time, in words; `None`: it holds.
    pub fn problem(&self, now: Timestamp) -> Option<String> {
        let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
        let today = day(now);
        if now < self.begin {
            return Some(format!("holds from {} on, and the clock says {today}", day(self.begin)));
        }
        (now > self.end)
            .then(|| format!("held until {}, and the clock says {today}", day(self.end)))
    }

    /// Whether it holds at a time, and so many days later still.
    pub fn lasts(&self, now: Timestamp, days: i64) -> bool {
        let later = now.checked_add(Span::new().hours(days.saturating_mul(24)));
        self.problem(now).is_none() && later.is_ok_and(|later| later <= self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_holds_between_its_days() {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 3, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let validity = Validity::of_der(made.der()).unwrap();
        assert_eq!(Validity::of_pem(made.pem().as_bytes()), Some(validity));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(validity.problem(at("2026-03-20T00:00:00Z")), None);
        let early = validity.problem(at("2015-02-03T04:05:06Z")).unwrap();
        assert_eq!(early, "holds from 2026-03-01 on, and the clock says 2015-02-03");
        let late = validity.problem(at("2026-04-02T00:00:00Z")).unwrap();
        assert_eq!(late, "held until 2026-04-01, and the clock says 2026-04-02");
        assert!(validity.lasts(at("2026-03-20T00:00:00Z"), 7));
        assert!(!validity.lasts(at("2026-03-28T00:00:00Z"), 7));
        assert!(!validity.lasts(at("2026-02-20T00:00:00Z"), 7));
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        for bytes in [&b""[..], b"\x30\x82", b"-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            assert_eq!((Validity::of_der(bytes), Validity::of_pem(bytes)), (None, None));
        }
    }
}
