use std::iter;

/// `prefix` and 24 random letters and digits, the form that OpenAI's ids have. Unique, not secret.
pub(super) fn answer_id(prefix: &str) -> String {
    prefix.chars().chain(iter::repeat_with(fastrand::alphanumeric).take(24)).collect()
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
        assert_eq!(request_id().len(), 32);
        assert_ne!(request_id(), request_id());
    }
}
