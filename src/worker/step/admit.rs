use crate::domain::{Error, ErrorKind, OutputOptions, Sampling};
use crate::worker::compute::{PreparedPrompt, Token};

/// The most answers to one request.
const MAX_CHOICES: u32 = 128;
/// The most tokens with a probability that a request may have echoed, alternatives included: some
/// 16 MiB.
pub(super) const MAX_ENTRIES: usize = 1 << 20;

/// What is wrong with a request, by what is known once its prompt is tokens.
pub(super) fn check(
    prompt: &PreparedPrompt,
    sampling: &Sampling,
    output: &OutputOptions,
    cells: usize,
    vocab_size: usize,
) -> Result<(), Error> {
    let length = prompt.tokens.len();
    if length == 0 {
        return Err(Error::new(ErrorKind::InvalidValue, "the prompt is empty: send some text"));
    }
    if length > cells {
        return Err(too_long(length, cells));
    }
    let unknown = |token: &&Token| usize::try_from(**token).map_or(true, |id| id >= vocab_size);
    // Those below zero stand for rows of images, whose map is checked for itself.
    let text = prompt.tokens.iter().filter(|token| **token >= 0);
    if let Some(token) = text.chain(&prompt.forced).find(unknown) {
        return Err(Error::internal(format!("token {token} is not in the vocabulary")));
    }
    if let Some((token, _)) = sampling.logit_bias.iter().find(|(token, _)| unknown(&token)) {
        let message = format!(
            "logit_bias names token {token}, but the ids of this model are 0 to {}",
            vocab_size.saturating_sub(1)
        );
        return Err(Error::invalid("logit_bias", message));
    }
    if output.echo && !prompt.media.is_empty() {
        return Err(Error::unsupported("echo", "a prompt with images cannot be echoed"));
    }
    let choices = output.choices;
    if choices > MAX_CHOICES {
        let message = format!("{choices} answers to one request are wanted: at most {MAX_CHOICES}");
        return Err(Error::invalid("n", message));
    }
    check_echo(length, output)
}

fn check_echo(length: usize, output: &OutputOptions) -> Result<(), Error> {
    let Some(top) = output.logprobs.filter(|_| output.echo) else { return Ok(()) };
    let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    let choices = size(output.choices.max(1));
    let entries = length.saturating_mul(size(top).saturating_add(1)).saturating_mul(choices);
    if entries > MAX_ENTRIES {
        let message = format!(
            "an echo of {length} tokens with {top} alternatives each, {choices} times, has \
             {entries} probabilities: at most {MAX_ENTRIES} are given; ask for fewer alternatives \
             or answers"
        );
        return Err(Error::invalid("logprobs", message));
    }
    Ok(())
}

pub(super) fn too_long(prompt: usize, cells: usize) -> Error {
    Error::new(
        ErrorKind::ContextLengthExceeded,
        format!(
            "This model's maximum context length is {cells} tokens, but the prompt has {prompt} \
             tokens: shorten the prompt or load the model with a larger context"
        ),
    )
}
