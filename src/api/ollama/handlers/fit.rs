//! `truncate`: what does not fit is cut, because the client asked for it, and the answer says how
//! much. Without it, what does not fit is an error.

use crate::api::state::ApiState;
use crate::domain::{ChatPrompt, Digest, GenerateRequest, Message, Prompt, Result, Role, Wishes};

use super::super::render::Shape;
use super::ask::{Load, Token, tokens_in, tokens_of};

/// How often the cut of a text is tried: tokens join differently at its new beginning.
const ATTEMPTS: usize = 8;

/// Who is asked how long something is.
pub(super) struct Model<'a> {
    pub(super) state: &'a ApiState,
    pub(super) name: &'a str,
    pub(super) id: Digest,
    pub(super) wishes: Wishes,
}

impl Model<'_> {
    /// Cuts a prompt that does not fit into the context, and answers how many tokens went: the
    /// oldest turns of a conversation, the beginning of any other prompt. Instructions stay, and so
    /// does the last turn. Once something has to go, a quarter of the context is left for the
    /// answer, if it may be so long. What fits in no way stays too long.
    ///
    /// # Errors
    /// Those of the model and of its template.
    pub(super) async fn fit(&self, request: &mut GenerateRequest, shape: Shape) -> Result<usize> {
        let before = self.count(request.prompt.clone()).await?;
        let Some(context) = self.context() else { return Ok(0) };
        if before < context {
            return Ok(0);
        }
        let asked = request.limits.max_tokens.and_then(|tokens| usize::try_from(tokens).ok());
        let answer = asked.unwrap_or(usize::MAX).min(context / 4).max(1);
        let most = context.saturating_sub(answer);
        let mut after = before;
        if let Prompt::Chat(chat) = &mut request.prompt {
            after = self.drop_turns(chat, most).await?;
        }
        if after > most && (shape == Shape::Generate || !matches!(request.prompt, Prompt::Chat(_)))
        {
            after = self.drop_beginning(&mut request.prompt, after, most).await?;
        }
        Ok(before.saturating_sub(after))
    }

    /// The tokens of context that the model has, or will have for this request.
    pub(super) fn context(&self) -> Option<usize> {
        let snapshot = self.state.service.snapshot();
        let model = snapshot.models.iter().find(|model| model.id == self.id)?;
        let info = model.info.as_ref()?;
        let wished = self.wishes.context.unwrap_or(0).min(info.train_context);
        usize::try_from(info.context_size.max(wished)).ok()
    }

    async fn count(&self, prompt: Prompt) -> Result<usize> {
        Ok(tokens_of(self.state, self.name, prompt, Load::IfNeeded).await?.len())
    }

    /// Keeps the latest turns with which it has at most `most` tokens; answers how many it has then.
    async fn drop_turns(&self, chat: &mut ChatPrompt, most: usize) -> Result<usize> {
        let starts = starts(&chat.messages);
        let (mut low, mut high) = (0, starts.len().saturating_sub(1));
        while low < high {
            let middle = low.midpoint(high);
            let kept = from(chat, starts.get(middle).copied().unwrap_or(0));
            if self.count(Prompt::Chat(kept)).await? <= most {
                high = middle;
            } else {
                low = middle.saturating_add(1);
            }
        }
        *chat = from(chat, starts.get(low).copied().unwrap_or(0));
        self.count(Prompt::Chat(chat.clone())).await
    }

    async fn drop_beginning(
        &self,
        prompt: &mut Prompt,
        count: usize,
        most: usize,
    ) -> Result<usize> {
        if let Prompt::Tokens(tokens) = prompt {
            // The first one begins every prompt.
            let end = count.saturating_sub(most).saturating_add(1).min(tokens.len());
            tokens.drain(1.min(end)..end);
            return Ok(tokens.len());
        }
        let Some(text) = text_of(prompt).map(|text| text.clone()) else { return Ok(count) };
        let tokens = tokens_in(self.state, self.name, &text, false, Load::IfNeeded).await?;
        let (mut over, mut left) = (count.saturating_sub(most), count);
        for _ in 0..ATTEMPTS {
            if let Some(place) = text_of(prompt) {
                *place = without_beginning(&text, &tokens, over);
            }
            left = self.count(prompt.clone()).await?;
            if left <= most {
                break;
            }
            over = over.saturating_add(left.saturating_sub(most).max(ATTEMPTS));
        }
        Ok(left)
    }
}

/// Where a conversation can begin so that it is still one: at what a user says, at its last turn,
/// and where it begins now.
fn starts(messages: &[Message]) -> Vec<usize> {
    let last = messages.len().saturating_sub(1);
    let can = |at: usize, message: &Message| at == 0 || at == last || message.role == Role::User;
    let turns = messages.iter().enumerate();
    turns.filter(|(at, message)| can(*at, message)).map(|(at, _)| at).collect()
}

/// The conversation from that turn on, with the instructions before it.
fn from(chat: &ChatPrompt, start: usize) -> ChatPrompt {
    let kept = chat.messages.iter().enumerate();
    let kept = kept.filter(|(at, message)| *at >= start || message.role == Role::System);
    ChatPrompt { messages: kept.map(|(_, message)| message.clone()).collect(), ..chat.clone() }
}

/// The text that may be cut at its beginning.
fn text_of(prompt: &mut Prompt) -> Option<&mut String> {
    match prompt {
        Prompt::Text(text) | Prompt::Fill { prefix: text, suffix: _ } => Some(text),
        // Where images stand in a text, it cannot be cut.
        Prompt::Chat(chat) => chat
            .messages
            .last_mut()
            .filter(|message| message.media.is_empty())
            .map(|message| &mut message.content),
        Prompt::Tokens(_) | Prompt::Embed(_) => None,
    }
}

/// The text without its first `over` tokens.
fn without_beginning(text: &str, tokens: &[Token], over: usize) -> String {
    let bytes: usize = tokens.iter().take(over).map(|(_, bytes)| bytes.len()).sum();
    let at = (bytes..=text.len()).find(|at| text.is_char_boundary(*at));
    at.and_then(|at| text.get(at..)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> ChatPrompt {
        let roles =
            [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Assistant, Role::User];
        ChatPrompt::new(roles.map(|role| Message::text(role, role.as_str())).to_vec())
    }

    #[test]
    fn a_conversation_begins_anew_where_a_user_speaks() {
        let chat = conversation();
        assert_eq!(starts(&chat.messages), [0, 1, 5]);
        let roles = |start| -> Vec<Role> {
            from(&chat, start).messages.iter().map(|message| message.role).collect()
        };
        assert_eq!(roles(0).len(), 6);
        assert_eq!(roles(5), [Role::System, Role::User]);
        assert_eq!(starts(&[]), Vec::<usize>::new());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let tokens: Vec<Token> =
            ["a", "\u{e9}", "b"].map(|text| (0, text.as_bytes().to_vec())).into_iter().collect();
        for (over, rest) in [(0, "aéb"), (1, "éb"), (2, "b"), (3, ""), (9, "")] {
            assert_eq!(without_beginning("aéb", &tokens, over), rest, "{over}");
        }
        let halves = [(0, vec![0xc3]), (0, vec![0xa9])];
        assert_eq!(without_beginning("é", &halves, 1), "");
    }
}
