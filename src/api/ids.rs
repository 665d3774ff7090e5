use std::iter;

use crate::domain::{Error, Result};

/// `prefix` and 24 random letters and digits, the form that OpenAI's ids have. Unique, not secret.
pub(super) fn answer_id(prefix: &str) -> String {
    prefix.chars().chain(iter::repeat_with(fastrand::alphanumeric).take(24)).collect()
}

/// As [`answer_id`], from the system's own randomness: nobody can guess it from others.
///
/// # Errors
/// `Internal` if the system has no randomness to give.
pub(super) fn secret_id(prefix: &str) -> Result<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789AZ";
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(Error::internal)?;
    // 64 letters, two of them twice: every byte chooses evenly and 32 of them hold over 180 bits.
    let letter = |byte: &u8| LETTERS.get(usize::from(byte % 64)).map_or('A', |l| char::from(*l));
    Ok(prefix.chars().chain(random.iter().map(letter)).collect())
}

/// A fresh request id: 32 hexadecimal digits.
pub(super) fn request_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_form_and_differ() {
        let id = answer_id("chatcmpl-");
        let tail = id.strip_prefix("chatcmpl-").expect("the prefix");
        assert!(tail.len() == 24 && tail.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
        assert_ne!(id, answer_id("chatcmpl-"));
        let (id, other) = (secret_id("resp_").expect("an id"), secret_id("resp_").expect("an id"));
        assert!(id.len() == 37 && id.starts_with("resp_") && id != other, "{id}");
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{id}");
        assert_eq!(request_id().len(), 32);
        assert_ne!(request_id(), request_id());
    }
}
