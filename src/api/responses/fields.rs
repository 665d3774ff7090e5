//! What becomes of each field of a request for a response.

use crate::api::fields::{Field, Table, honoured, ignored, refused};

/// `POST /v1/responses`.
pub(in crate::api) const CREATE: &[Table] =
    &[Table { title: "`POST /v1/responses`", fields: FIELDS }];

const FIELDS: &[Field] = &[
    honoured("model", "required; any name that `GET /v1/models/{model}` finds"),
    honoured("input", "required: a text, or items; files and audio are refused by name"),
    honoured("instructions", "the system message; not taken over by the next response"),
    honoured("previous_response_id", "with its whole history, as long as that is kept"),
    refused("conversation", "kept by OpenAI and not here"),
    refused("prompt", "kept by OpenAI and not here"),
    honoured("max_output_tokens", "at least 1. Default: the rest of the context"),
    ignored("max_tool_calls", "counts calls of hosted tools, which are never made; repeated"),
    honoured("temperature", "0 to 2; 0 is greedy. Default: the model file's, else 0.8"),
    honoured("top_p", "0 to 1. Default: the model file's, else 0.95"),
    honoured("top_k", "0 or -1: all. Default: the model file's, else 40"),
    honoured("min_p", "0 to 1. Default: the model file's, else 0.05"),
    honoured("seed", "any 64-bit integer"),
    honoured("top_logprobs", "0 to 20"),
    honoured("include", "`message.output_text.logprobs`; what hosted tools would say is left out"),
    honoured("tools", "`function`, `custom`, `namespace`; other hosted tools are refused by name"),
    honoured("tool_choice", "`auto`, `none`, `required`, a function, `allowed_tools`"),
    honoured("parallel_tool_calls", "false: at most one call"),
    honoured("text", "`format`: `text`, `json_object`, `json_schema`; `verbosity` is ignored"),
    honoured("reasoning", "`effort`; the thought is shown whole as its summary"),
    honoured("chat_template_kwargs", "variables of the chat template (llama.cpp, vLLM)"),
    honoured("metadata", "at most 16 pairs; repeated"),
    honoured("truncation", "`disabled` or `auto`; nothing is ever cut, what does not fit is 400"),
    honoured("stream", ""),
    ignored("stream_options", "padding against listeners on the way, of which there are none"),
    honoured("store", "default true"),
    honoured("background", "needs `store`; at most 16 at once"),
    ignored("background_options", "hints about when to run"),
    ignored("service_tier", "about billing on OpenAI's side"),
    ignored("user", "names an account on OpenAI's side; repeated"),
    ignored("safety_identifier", "names an account on OpenAI's side; repeated"),
    ignored("prompt_cache_key", "the prefix cache needs no key; repeated"),
    ignored("prompt_cache_options", "the prefix cache needs no options"),
    ignored("prompt_cache_retention", "the prefix cache needs no options"),
    ignored("context_management", "contexts are never compacted: what does not fit is an error"),
    ignored("moderation", "there is none"),
    ignored("access_programs", "about accounts on OpenAI's side"),
    ignored("image", "about hosted tools"),
];

#[cfg(test)]
mod tests {
    use super::super::types::CreateRequest;
    use super::*;
    use crate::api::fields::assert_complete;

    #[test]
    fn every_field_has_a_row() {
        for table in CREATE {
            assert_complete::<CreateRequest>(table);
        }
    }
}
