use http::{HeaderMap, header};
use http_auth::ChallengeRef;
use http_auth::parser::ChallengeParser;

/// The most header lines with challenges that are looked at.
const MAX_LINES: usize = 8;
/// The longest line that is looked at, in bytes.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// The most challenges that are looked at.
const MAX_CHALLENGES: usize = 16;

/// How a registry wants its user to be proven (RFC 9110, section 11.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with every request (RFC 7617).
    Basic,
    /// A token that another service issues
    /// (<https://distribution.github.io/distribution/spec/auth/token/>).
    Bearer {
        /// Where tokens are issued; not yet checked.
        realm: String,
        /// What the token is for.
        service: Option<String>,
    },
}

/// Why no challenge can be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There is none.
    Absent,
    /// There are some, but of schemes that modeld does not speak.
    Schemes(String),
    /// They break their grammar, or lack what they need.
    Broken(String),
}

/// The strongest challenge that can be met: a token before a password, since the password then
/// goes to the service that issues tokens and nowhere else.
pub(super) fn strongest(headers: &HeaderMap) -> Result<Challenge, Unusable> {
    let mut found = Found::default();
    for value in headers.get_all(header::WWW_AUTHENTICATE).iter().take(MAX_LINES) {
        match value.to_str() {
            Ok(line) if line.len() <= MAX_LINE_BYTES => found.read_line(line),
            Ok(line) => found.broken(format!("a line of {} bytes", line.len())),
            Err(_) => found.broken("a line that is not ASCII".to_owned()),
        }
    }
    found.conclude()
}

#[derive(Default)]
struct Found {
    seen: usize,
    bearer: Option<Challenge>,
    basic: bool,
    others: Vec<String>,
    broken: Option<String>,
}

impl Found {
    fn read_line(&mut self, line: &str) {
        for challenge in ChallengeParser::new(line) {
            self.seen = self.seen.saturating_add(1);
            if self.seen > MAX_CHALLENGES {
                return;
            }
            match challenge {
                Ok(challenge) => self.read(&challenge),
                // What came before it in the line is complete, and stays.
                Err(_) => self.broken("it breaks the grammar of RFC 9110".to_owned()),
            }
        }
    }

    fn read(&mut self, challenge: &ChallengeRef<'_>) {
        if challenge.scheme.eq_ignore_ascii_case("Basic") {
            self.basic = true;
        } else if challenge.scheme.eq_ignore_ascii_case("Bearer") {
            match bearer(challenge) {
                Ok(read) => self.bearer = self.bearer.take().or(Some(read)),
                Err(problem) => self.broken(problem),
            }
        } else {
            self.others.push(challenge.scheme.chars().take(32).collect());
        }
    }

    fn broken(&mut self, problem: String) {
        self.broken.get_or_insert(problem);
    }

    fn conclude(self) -> Result<Challenge, Unusable> {
        match (self.bearer, self.basic, self.broken) {
            (Some(bearer), _, _) => Ok(bearer),
            (None, true, _) => Ok(Challenge::Basic),
            (None, false, Some(problem)) => Err(Unusable::Broken(problem)),
            (None, false, None) if self.others.is_empty() => Err(Unusable::Absent),
            (None, false, None) => Err(Unusable::Schemes(self.others.join(", "))),
        }
    }
}

fn bearer(challenge: &ChallengeRef<'_>) -> Result<Challenge, String> {
    let one = |name: &str| {
        let mut values = challenge.params.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(format!("a Bearer challenge with two {name}s")),
            (value, _) => Ok(value.map(|(_, value)| value.to_unescaped())),
        }
    };
    let realm = one("realm")?.filter(|realm| !realm.is_empty());
    let realm = realm.ok_or("a Bearer challenge without a realm")?;
    Ok(Challenge::Bearer { realm, service: one("service")?.filter(|name| !name.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&str]) -> Result<Challenge, Unusable> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(header::WWW_AUTHENTICATE, value);
        }
        strongest(&headers)
    }

    fn token(realm: &str, service: Option<&str>) -> Result<Challenge, Unusable> {
        Ok(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
    }

    #[test]
    fn one_challenge() {
        assert_eq!(read(&["Basic realm=\"x\""]), Ok(Challenge::Basic));
        assert_eq!(read(&["basic"]), Ok(Challenge::Basic));
        assert_eq!(
            read(&["Bearer realm=\"https://a/token\",service=\"reg\",scope=\"repository:x:pull\""]),
            token("https://a/token", Some("reg"))
        );
        assert_eq!(
            read(&["BEARER Realm = \"https://a/\\\"q, Basic x=\\\"\", service=plain"]),
            token("https://a/\"q, Basic x=\"", Some("plain"))
        );
    }

    #[test]
    fn of_several_the_token_wins_in_any_order() {
        let expected = token("https://a", None);
        for lines in [
            ["Basic realm=\"x\", Bearer realm=\"https://a\""].as_slice(),
            &["Bearer realm=\"https://a\", Basic realm=\"x\""],
            &["Basic realm=\"x\"", "Bearer realm=\"https://a\""],
            &["Negotiate, Bearer realm=\"https://a\""],
            &["\u{1}garbage", "Bearer realm=\"https://a\""].map(|line| line.trim_matches('\u{1}')),
        ] {
            assert_eq!(read(lines), expected, "{lines:?}");
        }
        assert_eq!(read(&["Bearer service=\"x\", Basic realm=\"y\""]), Ok(Challenge::Basic));
    }

    #[test]
    fn what_cannot_be_met() {
        assert_eq!(read(&[]), Err(Unusable::Absent));
        assert_eq!(
            read(&["Digest realm=\"x\", Negotiate"]),
            Err(Unusable::Schemes("Digest, Negotiate".to_owned()))
        );
        let huge = format!("Bearer realm=\"{}\"", "a".repeat(10_000));
        for line in [
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"\"",
            "Bearer realm=\"a\", realm=\"b\"",
            "Bearer realm=\"unfinished",
            "= , =",
            "Bearer realm=é",
            &huge,
        ] {
            assert!(matches!(read(&[line]), Err(Unusable::Broken(_))), "{line}");
        }
    }

    #[test]
    fn only_so_many_are_looked_at() {
        let many = vec!["Negotiate"; MAX_CHALLENGES];
        let line = format!("{}, Bearer realm=\"https://a\"", many.join(", "));
        assert!(matches!(read(&[&line]), Err(Unusable::Schemes(_))));
        let mut lines = vec!["Negotiate"; MAX_LINES];
        lines.push("Basic");
        assert!(matches!(read(&lines), Err(Unusable::Schemes(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_line_harms(line in "[ -~\\t]{0,200}") {
            let _ = read(&[&line]);
        }
    }
}
