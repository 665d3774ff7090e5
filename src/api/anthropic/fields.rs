//! What becomes of each field of a request for a message.

use crate::api::fields::{Field, Table, honoured, ignored, refused};

/// `POST /v1/messages` and `…/count_tokens`.
pub(in crate::api) const MESSAGES: &[Table] =
    &[Table { title: "`POST /v1/messages`", fields: FIELDS }];

const FIELDS: &[Field] = &[
    honoured("model", "required; any name that `GET /v1/models/{model}` finds"),
    honoured("messages", "required; a last one by the assistant is continued"),
    honoured("max_tokens", "required but for counting; at least 1"),
    honoured("system", "a text or text blocks"),
    honoured("stream", ""),
    honoured("temperature", "0 to 1. Default: the model file's, else 0.8"),
    honoured("top_p", "0 to 1. Default: the model file's, else 0.95"),
    honoured("top_k", "0: all. Default: the model file's, else 40"),
    honoured("stop_sequences", "up to 16, none of them white space alone"),
    honoured("tools", "with `input_schema`; typed tools of Anthropic's side are refused by name"),
    honoured("tool_choice", "`auto`, `any`, `tool`, `none`; `disable_parallel_tool_use`"),
    honoured("thinking", "`enabled` with `budget_tokens`, `adaptive`, `disabled`, the default"),
    honoured("output_config", "`effort`; `format` with a JSON schema"),
    honoured("output_format", "the older place of `output_config.format`"),
    refused("mcp_servers", "unless empty: modeld connects to no other servers"),
    ignored("container", "names a machine for tools on Anthropic's side"),
    ignored("context_management", "nothing is ever cut: what does not fit is an error"),
    ignored("cache_control", "the prefix cache needs no marks"),
    ignored("metadata", "about accounts on Anthropic's side"),
    ignored("service_tier", "about billing on Anthropic's side"),
    ignored("speed", "about billing on Anthropic's side"),
    ignored("inference_geo", "the place is this machine"),
    ignored("diagnostics", "about Anthropic's side"),
    ignored("workspace_id", "about accounts on Anthropic's side"),
    ignored("user_profile_id", "about accounts on Anthropic's side"),
    ignored("betas", "what a beta adds comes as a field of its own"),
];

#[cfg(test)]
mod tests {
    use super::super::types::MessagesRequest;
    use super::*;
    use crate::api::fields::assert_complete;

    #[test]
    fn every_field_has_a_row() {
        for table in MESSAGES {
            assert_complete::<MessagesRequest>(table);
        }
    }
}
