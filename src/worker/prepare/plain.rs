use super::run::{Preparer, Ready};
use super::tokenize::too_long;
use crate::domain::{Error, JobId};
use crate::worker::compute::{PreparedPrompt, Token};
use crate::worker::quote::Part;

impl Preparer {
    /// Text as it stands.
    pub(super) fn text(&self, job: JobId, text: &str) -> Result<Ready, Error> {
        let tokens = self.tokenize(job, &[Part::template(text)])?;
        Ok(ready(tokens))
    }

    /// Tokens as they stand.
    pub(super) fn tokens(&self, tokens: &[i32]) -> Result<Ready, Error> {
        check_tokens("prompt", tokens, self.model.vocab_size())?;
        self.check_length(tokens)?;
        Ok(ready(tokens.to_vec()))
    }

    /// The gap between two texts, in the order in which models learn to fill one: the model's own
    /// beginning, a mark and the prefix, a mark and the suffix, and the mark of the gap. Special
    /// tokens in the texts are text.
    pub(super) fn fill(&self, job: JobId, prefix: &str, suffix: &str) -> Result<Ready, Error> {
        let Some(marks) = self.model.fill_marks() else {
            let message = format!(
                "{} has no tokens for filling a gap: leave out the suffix, or use a model that \
                 was trained to fill in the middle",
                self.name
            );
            return Err(Error::unsupported("suffix", message));
        };
        let mut tokens: Vec<Token> = self.model.begin().into_iter().collect();
        for (mark, text) in [(marks.prefix, prefix), (marks.suffix, suffix)] {
            tokens.push(mark);
            if !text.is_empty() {
                tokens.extend(self.tokenize_inner(job, text)?);
            }
        }
        tokens.push(marks.middle);
        self.check_length(&tokens)?;
        Ok(ready(tokens))
    }

    /// At least one token of the context stays for the answer.
    fn check_length(&self, tokens: &[Token]) -> Result<(), Error> {
        let length = u64::try_from(tokens.len()).unwrap_or(u64::MAX);
        if length >= u64::from(self.context_size) {
            return Err(too_long(length, true, self.context_size));
        }
        Ok(())
    }
}

fn ready(tokens: Vec<Token>) -> Ready {
    let prompt = PreparedPrompt { tokens, ..PreparedPrompt::default() };
    Ready { prompt, ..Ready::default() }
}

/// Names the first id that is not in the vocabulary.
///
/// # Errors
/// `InvalidValue` for `param`; also if there are no tokens.
fn check_tokens(param: &str, tokens: &[Token], vocab_size: i32) -> Result<(), Error> {
    if tokens.is_empty() {
        return Err(Error::invalid(param, "the list of tokens is empty: give at least one"));
    }
    match tokens.iter().position(|token| !(0..vocab_size).contains(token)) {
        None => Ok(()),
        Some(at) => {
            let message = format!(
                "token {} at position {at} is not in the vocabulary: the ids of this model are 0 \
                 to {}",
                tokens.get(at).copied().unwrap_or_default(),
                vocab_size.saturating_sub(1)
            );
            Err(Error::invalid(param, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ErrorKind;

    #[test]
    fn an_unknown_token_is_named_with_its_place() {
        assert_eq!(check_tokens("prompt", &[0, 9], 10), Ok(()));
        for (tokens, at, token) in [(&[0, 10][..], 1, 10), (&[-1, 3], 0, -1), (&[1, 2, 99], 2, 99)]
        {
            let error = check_tokens("prompt", tokens, 10).expect_err("refused");
            assert_eq!(
                (error.kind, error.param.as_deref()),
                (ErrorKind::InvalidValue, Some("prompt"))
            );
            let start = format!("token {token} at position {at} is not in the vocabulary");
            assert!(error.message.starts_with(&start), "{}", error.message);
        }
        assert_eq!(
            check_tokens("prompt", &[], 10).map_err(|e| e.kind),
            Err(ErrorKind::InvalidValue)
        );
    }
}
