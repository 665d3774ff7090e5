use super::run::{Preparer, Ready};
use super::tokenize::render_limit;
use crate::domain::{ChatPrompt, Error, ErrorKind, JobId, Prompt};
use crate::protocol::ToDaemon;
use crate::worker::compute::PreparedPrompt;
use crate::worker::llama::RenderError;

impl Preparer {
    /// A conversation, rendered by the model's template.
    pub(super) fn chat(&self, job: JobId, chat: &ChatPrompt) -> Result<Ready, Error> {
        let bytes = Prompt::Chat(chat.clone()).text_bytes();
        let quoted = self.quotes.quote(chat.clone());
        let (text, stops) = self.render(job, &quoted, bytes)?;
        let (tokens, media) = self.tokenize_chat(job, chat, &text)?;
        Ok(Ready { prompt: PreparedPrompt { tokens, ..PreparedPrompt::default() }, stops, media })
    }

    /// The prompt and the stop texts of the format.
    fn render(
        &self,
        job: JobId,
        chat: &ChatPrompt,
        bytes: usize,
    ) -> Result<(String, Vec<String>), Error> {
        let templates = self.templates.as_ref().map_err(|reason| self.bad_template(reason))?;
        let limit = render_limit(bytes);
        let error = Error::new(
            ErrorKind::InvalidModel,
            format!(
                "the chat template of {} took longer than {} s: load the model with another one",
                self.name,
                limit.as_secs()
            ),
        );
        let last_words = ToDaemon::Failed { job, error };
        match self.watchdog.watch(limit, last_words, || templates.render(chat)) {
            Ok(rendered) => Ok((rendered.prompt, rendered.additional_stops)),
            Err(RenderError::Raised(reason)) => Err(Error::invalid(
                "messages",
                format!("the chat template of {} refused the conversation: {reason}", self.name),
            )),
            Err(RenderError::Template(reason)) => Err(self.bad_template(&reason)),
            // The reason may quote the conversation, so it is not for the log.
            Err(RenderError::Request(_)) => {
                Err(Error::internal("llama.cpp did not understand the messages it was given"))
            }
        }
    }

    fn bad_template(&self, reason: &str) -> Error {
        Error::new(
            ErrorKind::InvalidModel,
            format!(
                "the chat template of {} cannot be used: {reason}. Load the model with another \
                 one, or complete plain text",
                self.name
            ),
        )
    }
}
