//! `context`: the tokens of a conversation, which the client hands back for the next turn.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt};

use crate::api::state::ApiState;
use crate::domain::{Delta, Event, Prompt, Result};

use super::ask::{Load, ids, tokens_in, tokens_of};

/// The prompt behind the tokens of the conversation so far.
///
/// # Errors
/// Those of the model and of its template.
pub(super) async fn behind(
    state: &ApiState,
    model: &str,
    mut context: Vec<i32>,
    prompt: Prompt,
) -> Result<Prompt> {
    let tokens = tokens_of(state, model, prompt, Load::IfNeeded).await?;
    // What begins every prompt stands at the beginning of the context already.
    let begin: Vec<i32> =
        ids(&tokens_in(state, model, "", true, Load::IfNeeded).await?).take(1).collect();
    let skip = begin.iter().zip(ids(&tokens)).filter(|(a, b)| **a == *b).count();
    context.extend(ids(&tokens).skip(skip));
    Ok(Prompt::Tokens(context))
}

/// The same events; before the last one passes, `place` holds the tokens of the prompt and of the
/// answer. Where they cannot be had, because the model has been unloaded meanwhile, it stays empty:
/// the answer matters more.
pub(super) fn told(
    events: impl Stream<Item = Result<Event>> + Send + Unpin + 'static,
    state: ApiState,
    model: String,
    prompt: Prompt,
    place: Arc<Mutex<Vec<i32>>>,
) -> impl Stream<Item = Result<Event>> + Send + Unpin + 'static {
    let mut text = String::new();
    let mut prompt = Some(prompt);
    Box::pin(events.then(move |event| {
        if let Ok(Event::Delta { choice: 0, delta: Delta::Content(piece) }) = &event {
            text.push_str(piece);
        }
        let over = matches!(event, Ok(Event::Finished(_)));
        let last = if over { prompt.take().map(|p| (p, std::mem::take(&mut text))) } else { None };
        let (state, model, place) = (state.clone(), model.clone(), Arc::clone(&place));
        async move {
            if let Some((prompt, text)) = last
                && let Ok(tokens) = conversation(&state, &model, prompt, &text).await
            {
                *place.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
            }
            event
        }
    }))
}

async fn conversation(
    state: &ApiState,
    model: &str,
    prompt: Prompt,
    answer: &str,
) -> Result<Vec<i32>> {
    let mut tokens: Vec<i32> = match prompt {
        Prompt::Tokens(tokens) => tokens,
        prompt => ids(&tokens_of(state, model, prompt, Load::Never).await?).collect(),
    };
    tokens.extend(ids(&tokens_in(state, model, answer, false, Load::Never).await?));
    Ok(tokens)
}
