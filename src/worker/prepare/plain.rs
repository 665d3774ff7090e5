use super::run::{Preparer, Ready};
use crate::domain::{Error, JobId};
use crate::worker::compute::PreparedPrompt;
use crate::worker::quote::Part;

impl Preparer {
    /// Text as it stands.
    pub(super) fn text(&self, job: JobId, text: &str) -> Result<Ready, Error> {
        let tokens = self.tokenize(job, &[Part::template(text)])?;
        let prompt = PreparedPrompt { tokens, ..PreparedPrompt::default() };
        Ok(Ready { prompt, ..Ready::default() })
    }

    /// Tokens as they stand.
    pub(super) fn tokens(&self, _tokens: &[i32]) -> Result<Ready, Error> {
        Err(Error::unsupported("prompt", "token ids are not done yet"))
    }

    /// The gap between two texts.
    pub(super) fn fill(&self, _job: JobId, _prefix: &str, _suffix: &str) -> Result<Ready, Error> {
        Err(Error::unsupported("suffix", "filling a gap is not done yet"))
    }
}
