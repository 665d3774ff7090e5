use axum::extract::Query;
use http::Uri;
use serde::de::DeserializeOwned;

use crate::domain::{Error, ErrorKind, Result};

/// Reads the query of a route of modeld's own. Its type denies unknown fields: a mistyped key must
/// not turn a request for a part into one for all.
///
/// # Errors
/// `InvalidValue`, which names the key that is unknown or given twice.
pub(super) fn read_query<T: DeserializeOwned>(uri: &Uri) -> Result<T> {
    let read = Query::<T>::try_from_uri(uri);
    read.map(|Query(params)| params).map_err(|fault| {
        let text = fault.body_text();
        let problem = text.rsplit_once(": ").map_or(text.as_str(), |(_, problem)| problem);
        // No cause for the log: it would be the client's own words.
        Error::new(ErrorKind::InvalidValue, format!("the query cannot be read: {problem}"))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Params {
        some: Option<String>,
    }

    fn read(uri: &'static str) -> Result<Option<String>> {
        read_query::<Params>(&Uri::from_static(uri)).map(|params| params.some)
    }

    #[test]
    fn keys_are_known_or_refused_by_name() {
        assert_eq!(read("/x").unwrap(), None);
        assert_eq!(read("/x?some=a%20b").unwrap().as_deref(), Some("a b"));
        let error = read("/x?smoe=1").unwrap_err();
        assert!(error.message.contains("unknown field `smoe`"), "{}", error.message);
        assert!(error.message.contains("expected `some`"), "{}", error.message);
        assert_eq!(error.cause, None);
        let error = read("/x?some=1&some=2").unwrap_err();
        assert!(error.message.contains("duplicate field `some`"), "{}", error.message);
    }
}
