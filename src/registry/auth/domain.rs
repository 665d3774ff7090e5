//! Which hosts belong together, without the public suffix list: whoever runs a registry may ask for
//! its credentials on the registry itself, so what is decided here is only where else they may go at
//! that registry's word. The list as code is 2 MB of the program; this errs on the side of not
//! sending them.

/// Domains under which strangers are neighbours.
const SHARED: &[&str] = &[
    "amazonaws.com",
    "appspot.com",
    "azurecr.io",
    "azurewebsites.net",
    "cloudapp.net",
    "cloudfront.net",
    "duckdns.org",
    "fly.dev",
    "github.io",
    "githubpreview.dev",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "ngrok.app",
    "ngrok.io",
    "nip.io",
    "onrender.com",
    "pages.dev",
    "run.app",
    "sslip.io",
    "trycloudflare.com",
    "ts.net",
    "vercel.app",
    "web.app",
    "windows.net",
    "workers.dev",
];

/// Whether two names are of one owner, as far as names tell: the last two labels are the same, or
/// the last three where the second is one like `co` in `co.uk`.
pub(super) fn is_same_owner(one: &str, other: &str) -> bool {
    match (owned(one), owned(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// The part of a name that somebody registered; `None` where it cannot be told.
fn owned(name: &str) -> Option<&str> {
    let mut dots = name.rmatch_indices('.').map(|(at, _)| at);
    let last = dots.next()?;
    let second = dots.next();
    let tail = |dot: Option<usize>| name.get(dot.map_or(0, |at| at.saturating_add(1))..);
    let two = tail(second)?;
    if SHARED.iter().any(|shared| two.eq_ignore_ascii_case(shared)) {
        return None;
    }
    let label = name.get(second.map_or(0, |at| at.saturating_add(1))..last)?;
    if label.is_empty() {
        return None;
    }
    let is_suffix = label.len() <= 3 && last.saturating_add(3) == name.len();
    if !is_suffix {
        return Some(two);
    }
    // `x.co.uk` is owned, `co.uk` is not.
    second?;
    tail(dots.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_told_by_names() {
        for (one, other, same) in [
            ("registry.example.com", "auth.example.com", true),
            ("example.com", "auth.example.com", true),
            ("example.com", "example.org", false),
            ("a.com", "b.com", false),
            ("a.co.uk", "b.co.uk", false),
            ("r.a.co.uk", "auth.a.co.uk", true),
            ("me.github.io", "you.github.io", false),
            ("x.s3.amazonaws.com", "y.s3.amazonaws.com", false),
            ("ghcr.io", "auth.ghcr.io", true),
            ("com", "com", false),
            ("co.uk", "co.uk", false),
            ("", "", false),
            (".", ".", false),
        ] {
            assert_eq!(is_same_owner(one, other), same, "{one} {other}");
            assert_eq!(is_same_owner(other, one), same, "{other} {one}");
        }
    }
}
