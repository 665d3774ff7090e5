//! Questions to the worker that need no computing.

use crate::api::state::ApiState;
use crate::domain::{Error, Prompt, Result};
use crate::protocol::{Query, QueryAnswer};

/// A token and its bytes.
pub(super) type Token = (i32, Vec<u8>);

/// Whether a model that is not loaded is loaded to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    IfNeeded,
    Never,
}

/// The tokens of a prompt, exactly as generating from it would see them.
pub(super) async fn tokens_of(
    state: &ApiState,
    model: &str,
    prompt: Prompt,
    load: Load,
) -> Result<Vec<Token>> {
    ask(state, model, Query::Tokenize(prompt), load).await
}

/// The tokens of a text, with what the tokenizer adds to a prompt if `add_special`.
pub(super) async fn tokens_in(
    state: &ApiState,
    model: &str,
    text: &str,
    add_special: bool,
    load: Load,
) -> Result<Vec<Token>> {
    let text = text.to_owned();
    ask(state, model, Query::TokenizeText { text, add_special, parse_special: false }, load).await
}

async fn ask(state: &ApiState, model: &str, query: Query, load: Load) -> Result<Vec<Token>> {
    let answer = match load {
        Load::IfNeeded => state.service.query(model, query).await?,
        Load::Never => state.service.query_loaded(model, query).await?,
    };
    match answer {
        QueryAnswer::Tokens(tokens) => Ok(tokens),
        QueryAnswer::Text(_) => Err(Error::internal("tokens were asked for, and text came")),
    }
}

/// The ids alone.
pub(super) fn ids(tokens: &[Token]) -> impl Iterator<Item = i32> + '_ {
    tokens.iter().map(|(id, _)| *id)
}
