//! Questions to the worker that need no computing.

use crate::api::state::ApiState;
use crate::domain::{Error, Prompt, Result};
use crate::protocol::{Query, QueryAnswer};

/// A token and its bytes.
pub(super) type Token = (i32, Vec<u8>);

/// The tokens of a prompt, exactly as generating from it would see them.
pub(super) async fn tokens_of(state: &ApiState, model: &str, prompt: Prompt) -> Result<Vec<Token>> {
    ask(state, model, Query::Tokenize(prompt)).await
}

/// The tokens of a text, with what the tokenizer adds to a prompt if `add_special`.
pub(super) async fn tokens_in(
    state: &ApiState,
    model: &str,
    text: &str,
    add_special: bool,
) -> Result<Vec<Token>> {
    let text = text.to_owned();
    ask(state, model, Query::TokenizeText { text, add_special, parse_special: false }).await
}

async fn ask(state: &ApiState, model: &str, query: Query) -> Result<Vec<Token>> {
    match state.service.query(model, query).await? {
        QueryAnswer::Tokens(tokens) => Ok(tokens),
        QueryAnswer::Text(_) => Err(Error::internal("tokens were asked for, and text came")),
    }
}

/// The ids alone.
pub(super) fn ids(tokens: &[Token]) -> impl Iterator<Item = i32> + '_ {
    tokens.iter().map(|(id, _)| *id)
}
