use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId};

use crate::schema;
use crate::worker::compute::{Token, Vocab};
use crate::worker::llama::Model;

/// A longer token is left out of the trie: it can come in no constrained answer.
const LONGEST: usize = 1024;

/// Everything that llguidance has to know of a model, and keeps for all its constraints.
///
/// Takes 0.5 s for SmolLM2 (49,152 tokens), measured on a machine with three times as much to do as it
/// has cores.
///
/// # Errors
/// The model has no end token, so no answer could ever end; or llguidance's own words.
pub(super) fn factory(model: &Model) -> Result<ParserFactory, String> {
    let tokens = token_env(model)?;
    let slices = SlicedBiasComputer::json_slices();
    let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)
        .map_err(|error| error.to_string())?;
    *factory.limits_mut() = schema::limits();
    factory.quiet();
    Ok(factory)
}

fn token_env(model: &Model) -> Result<TokEnv, String> {
    let size = u32::try_from(model.vocab_size()).unwrap_or(0);
    let mut words = Vec::with_capacity(size as usize);
    let mut ends: Vec<TokenId> = Vec::new();
    for (id, token) in (0..size).zip(0 as Token..) {
        let mut word = Vec::new();
        if model.is_end(token) {
            ends.push(id);
        } else {
            model.piece(token, &mut word);
        }
        if word.is_empty() {
            // What is no text may come where a grammar names it, and nowhere within text.
            let text = model.token_text(token);
            if !text.is_empty() {
                word.push(TokTrie::SPECIAL_TOKEN_MARKER);
                word.extend(text);
            }
        }
        if word.len() > LONGEST {
            word.clear();
        }
        words.push(word);
    }
    let Some(end) = ends.first() else {
        return Err("the model has no end token, so a constrained answer could not end".to_owned());
    };
    let info = TokRxInfo::new(size, *end);
    let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
    Ok(std::sync::Arc::new(ApproximateTokEnv::new(trie)))
}
