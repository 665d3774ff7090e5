//! What becomes of each field of chat and text completions.

use crate::api::fields::{Field, Table, honoured, ignored, refused};

/// `POST /v1/chat/completions` and what its fields are made of.
pub(in crate::api) const CHAT: &[Table] = &[
    Table { title: "`POST /v1/chat/completions`", fields: CHAT_FIELDS },
    Table { title: "`messages[]`", fields: MESSAGE },
    Table { title: "`messages[].content[]`", fields: PART },
    Table { title: "`messages[].tool_calls[]`", fields: CALL },
    Table { title: "`tools[]`", fields: TOOL },
    Table { title: "`tools[].function` and `functions[]`", fields: FUNCTION },
    Table { title: "`reasoning`", fields: REASONING },
    Table { title: "`response_format`", fields: FORMAT },
    Table { title: "`response_format.json_schema`", fields: NAMED_SCHEMA },
    Table { title: "`structured_outputs`", fields: STRUCTURED },
    Table { title: "`stream_options`", fields: STREAM_OPTIONS },
];

/// `POST /v1/completions`; the parts are those of [`CHAT`].
pub(in crate::api) const TEXT: &[Table] =
    &[Table { title: "`POST /v1/completions`", fields: TEXT_FIELDS }];

const TEMPERATURE: Field =
    honoured("temperature", "0 to 2; 0 is greedy. Default: the model file's, else 0.8");
const TOP_P: Field = honoured("top_p", "0 to 1. Default: the model file's, else 0.95");
const TOP_K: Field = honoured("top_k", "0 or -1: all. Default: the model file's, else 40");
const MIN_P: Field = honoured("min_p", "0 to 1. Default: the model file's, else 0.05");
const PRESENCE: Field = honoured("presence_penalty", "-2 to 2");
const FREQUENCY: Field = honoured("frequency_penalty", "-2 to 2");
const REPEAT: Field = honoured("repeat_penalty", "over 0 to 100; 1 is off");
const REPEAT_LAST: Field =
    honoured("repeat_last_n", "how many tokens the penalties look at; -1: all. Default 64");
const TYPICAL: Field = honoured("typical_p", "0 to 1; 1 is off");
const MIROSTAT: Field = refused("mirostat", "unless 0");
const BIAS: Field =
    honoured("logit_bias", "token ids of this model, -100 to 100 each, at most 4096");
const SEED: Field = honoured("seed", "any 64-bit integer");
const STOP: Field = honoured("stop", "a string or up to 16; `\"\"` and `[]` mean none");
const IGNORE_EOS: Field = honoured("ignore_eos", "for measurements");
const STREAM: Field = honoured("stream", "");
const OPTIONS: Field = honoured("stream_options", "below; also without `stream`");
const RESPONSE_FORMAT: Field = honoured(
    "response_format",
    "`text`, `json_object`, `json_schema`. It and the following constraints exclude each other",
);
const GRAMMAR: Field = honoured("grammar", "a grammar in GBNF (llama.cpp)");
const JSON_SCHEMA: Field = honoured("json_schema", "a JSON schema (llama.cpp)");
const GUIDED_JSON: Field = honoured("guided_json", "a JSON schema or its text (vLLM)");
const GUIDED_REGEX: Field = honoured("guided_regex", "the whole answer matches (vLLM)");
const GUIDED_CHOICE: Field = honoured("guided_choice", "the answer is one of these texts (vLLM)");
const GUIDED_GRAMMAR: Field =
    honoured("guided_grammar", "GBNF if it contains `::=`, else Lark (vLLM)");
const OUTPUTS: Field = honoured("structured_outputs", "below (vLLM)");
const USER: Field = ignored("user", "names an account on OpenAI's side");

const CHAT_FIELDS: &[Field] = &[
    honoured("model", "required; any name that `GET /v1/models/{model}` finds"),
    honoured("messages", "required, 1 to 4096; a last one by the assistant is continued"),
    STREAM,
    OPTIONS,
    honoured("max_tokens", "at least 1; -1: the rest of the context, which is the default"),
    honoured("max_completion_tokens", "as `max_tokens`, and wins over it"),
    honoured("n", "1 to 128"),
    STOP,
    IGNORE_EOS,
    SEED,
    TEMPERATURE,
    TOP_P,
    TOP_K,
    MIN_P,
    PRESENCE,
    FREQUENCY,
    REPEAT,
    REPEAT_LAST,
    TYPICAL,
    MIROSTAT,
    BIAS,
    honoured("logprobs", "of the tokens of `content`"),
    honoured("top_logprobs", "0 to 20; needs `logprobs`"),
    RESPONSE_FORMAT,
    GRAMMAR,
    JSON_SCHEMA,
    GUIDED_JSON,
    GUIDED_REGEX,
    GUIDED_CHOICE,
    GUIDED_GRAMMAR,
    OUTPUTS,
    honoured("tools", "at most 512, of type `function`, no two of the same name"),
    honoured(
        "tool_choice",
        "`auto`, `none`, `required`, a `function`, or `allowed_tools`, which hides the others",
    ),
    honoured("parallel_tool_calls", "default true"),
    honoured("functions", "the old form of `tools`; the answer has a `function_call`"),
    honoured("function_call", "`auto`, `none`, or an object with a name"),
    honoured(
        "reasoning_effort",
        "`none` does not think; `minimal` is `low`, `xhigh` and `max` are `high`",
    ),
    honoured("reasoning", "below (OpenRouter); `reasoning_effort` wins over it"),
    honoured(
        "thinking_budget",
        "the most tokens of thought; 0: none, -1: no bound. Wins over `reasoning_budget`, \
         `reasoning.max_tokens`, `chat_template_kwargs.thinking_budget`, in this order",
    ),
    honoured("reasoning_budget", "as `thinking_budget` (llama.cpp)"),
    honoured(
        "chat_template_kwargs",
        "variables of the chat template, at most 64; `enable_thinking` and `thinking_budget` are \
         understood, too",
    ),
    honoured("modalities", "`[\"text\"]`; anything else is refused"),
    refused("audio", "answers are text only"),
    ignored("prediction", "a hint that changes no answer"),
    ignored("verbosity", "a hint that models here do not know"),
    ignored("web_search_options", "nothing is searched"),
    ignored("service_tier", "billing on OpenAI's side"),
    ignored("store", "nothing is kept"),
    ignored("metadata", "labels for what is kept on OpenAI's side"),
    USER,
    ignored("safety_identifier", "names an account on OpenAI's side"),
    ignored("prompt_cache_key", "the longest known prefix is found without it"),
    ignored("prompt_cache_options", "the longest known prefix is found without it"),
    ignored("prompt_cache_retention", "prefixes stay as long as there is room"),
    ignored("moderation", "nothing is moderated"),
];

const TEXT_FIELDS: &[Field] = &[
    honoured("model", "required; any name that `GET /v1/models/{model}` finds"),
    honoured(
        "prompt",
        "required: a text, token ids of this model, or up to 128 of either, each queued as a \
         request of its own",
    ),
    honoured("suffix", "text prompts only, of models that fill gaps; not with `echo`"),
    honoured("echo", "the prompt is part of the answer"),
    honoured(
        "best_of",
        "`n` to 128; the answers with the highest mean log-probability; not streamed if over `n`",
    ),
    STREAM,
    OPTIONS,
    honoured("max_tokens", "at least 1, 0 with `echo`; -1: the rest of the context. Default 16"),
    honoured("n", "1 to 128; all prompts together at most 1024 answers"),
    STOP,
    IGNORE_EOS,
    SEED,
    TEMPERATURE,
    TOP_P,
    TOP_K,
    MIN_P,
    PRESENCE,
    FREQUENCY,
    REPEAT,
    REPEAT_LAST,
    TYPICAL,
    MIROSTAT,
    BIAS,
    honoured(
        "logprobs",
        "0 to 5, beside the chosen token; `text_offset` counts from the answer's beginning where \
         the prompt is token ids and not echoed",
    ),
    RESPONSE_FORMAT,
    GRAMMAR,
    JSON_SCHEMA,
    GUIDED_JSON,
    GUIDED_REGEX,
    GUIDED_CHOICE,
    GUIDED_GRAMMAR,
    OUTPUTS,
    USER,
];

const MESSAGE: &[Field] = &[
    honoured(
        "role",
        "required: `system`, `developer` (the same), `user`, `assistant`, `tool`, `function`",
    ),
    honoured("content", "a string or parts; null only beside `tool_calls`"),
    honoured("name", ""),
    honoured("refusal", "the content of an assistant message that has none"),
    honoured("reasoning_content", "told to templates that show earlier thoughts"),
    honoured("reasoning", "as `reasoning_content`, which wins"),
    honoured("tool_calls", "assistant messages only"),
    honoured("tool_call_id", ""),
    honoured("function_call", "the old form of `tool_calls`"),
    ignored("audio", "the id of an answer that was never given"),
];

const PART: &[Field] = &[
    honoured("type", "required: `text`, `image_url`, `input_audio`, `file`, `refusal`"),
    honoured("text", ""),
    honoured("refusal", "joined to the text"),
    honoured(
        "image_url",
        "`{url, detail}` or the URL alone; a `data:` URL, as nothing is fetched; `detail` is ignored",
    ),
    honoured("input_audio", "`{data, format}`; the data tell the format"),
    honoured("file", "`{file_data}` with an image or a sound; a `file_id` is refused"),
];

const CALL: &[Field] = &[
    honoured("id", "required"),
    honoured("type", "`function`"),
    honoured("function", "required: `{name, arguments}`"),
];

const TOOL: &[Field] = &[
    honoured("type", "required: `function`; other types are refused"),
    honoured("function", "required, below"),
];

const FUNCTION: &[Field] = &[
    honoured("name", "required: 1 to 128 letters, digits, `_`, `-`, `.`"),
    honoured("description", ""),
    honoured(
        "parameters",
        "a JSON schema; absent: no parameters. Without `strict`, what cannot be guaranteed of it is \
         left to the model",
    ),
    honoured("strict", "the arguments obey the schema, which has to be one that can be guaranteed"),
];

const REASONING: &[Field] = &[
    honoured("effort", "as `reasoning_effort`"),
    honoured("max_tokens", "as `thinking_budget`"),
    honoured("enabled", "whether to think at all"),
    refused("exclude", "unless false"),
    ignored("summary", "thoughts are told whole"),
];

const FORMAT: &[Field] = &[
    honoured("type", "required: `text`, `json_object`, `json_schema`"),
    honoured("json_schema", "below"),
    honoured("schema", "with `json_object`, a JSON schema (llama.cpp)"),
];

const NAMED_SCHEMA: &[Field] = &[
    honoured("name", "required: 1 to 64 letters, digits, `_`, `-`"),
    ignored("description", "models here are not told"),
    honoured("schema", "required; what cannot be guaranteed is refused with its place"),
    ignored("strict", "answers obey the schema in any case"),
];

const STRUCTURED: &[Field] = &[
    honoured("json", "as `guided_json`"),
    honoured("regex", "as `guided_regex`"),
    honoured("choice", "as `guided_choice`"),
    honoured("grammar", "as `guided_grammar`"),
    honoured("json_object", "true: a JSON object"),
    refused("structural_tag", "send a grammar"),
];

const STREAM_OPTIONS: &[Field] = &[
    honoured("include_usage", "a last chunk with the counts"),
    ignored("include_obfuscation", "padding against eavesdroppers, of whom a socket has none"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fields::assert_complete;
    use crate::api::openai::types::{
        ChatRequest, FunctionDefinition, NamedSchema, Part, Reasoning, ResponseFormat,
        StreamOptions, StructuredOutputs, TextRequest, WireCall, WireMessage, WireTool,
    };

    #[test]
    fn every_field_has_a_row() {
        let [
            chat,
            message,
            part,
            call,
            tool,
            function,
            reasoning,
            format,
            named,
            structured,
            options,
        ] = CHAT
        else {
            panic!("a table was added without a type");
        };
        assert_complete::<ChatRequest>(chat);
        assert_complete::<WireMessage>(message);
        assert_complete::<Part>(part);
        assert_complete::<WireCall>(call);
        assert_complete::<WireTool>(tool);
        assert_complete::<FunctionDefinition>(function);
        assert_complete::<Reasoning>(reasoning);
        assert_complete::<ResponseFormat>(format);
        assert_complete::<NamedSchema>(named);
        assert_complete::<StructuredOutputs>(structured);
        assert_complete::<StreamOptions>(options);
        let [text] = TEXT else { panic!("a table was added without a type") };
        assert_complete::<TextRequest>(text);
    }
}
