// The C++ side of modeld's llama.cpp binding: every function here catches every exception, so that
// none can reach Rust (where it would end the process), and hands text back as counted bytes.
//
// Bounds (token ids, sequence ids, batch sizes) are checked by the Rust side before it calls:
// llama.cpp answers some violations with abort(), which nothing here could catch.

#include "chat.h"
#include "common.h"
#include "llama.h"
#include "log.h"

#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>

extern "C" {

// Text for Rust; freed with modeld_bytes_free. data is null when there is none.
struct modeld_bytes {
    char * data;
    size_t len;
};

// Keep in step with `Status` in shim.rs.
enum modeld_status {
    MODELD_OK        = 0,
    MODELD_RAISED    = 1, // the template called raise_exception: the conversation is at fault
    MODELD_TEMPLATE  = 2, // the template is at fault
    MODELD_INPUT     = 3, // the JSON from Rust is at fault
    MODELD_EXCEPTION = 4, // llama.cpp threw
};

} // extern "C"

namespace {

// What the jinja engine puts before the text of raise_exception.
const char RAISED_MARK[] = "Jinja Exception: ";
// What it puts before the cause of any failure, after an excerpt of the template.
const char ERROR_MARK[] = "Error: ";

void give(modeld_bytes * out, const std::string & text) {
    if (out == nullptr) {
        return;
    }
    out->data = static_cast<char *>(std::malloc(text.size() + 1));
    out->len  = out->data != nullptr ? text.size() : 0;
    if (out->data != nullptr) {
        std::memcpy(out->data, text.data(), text.size());
        out->data[text.size()] = '\0';
    }
}

// Calls f; an exception becomes MODELD_EXCEPTION with its text.
template <typename F> int guarded(modeld_bytes * error, F && f) noexcept {
    try {
        return f();
    } catch (const std::exception & e) {
        try {
            give(error, e.what());
        } catch (...) {
        }
    } catch (...) {
    }
    return MODELD_EXCEPTION;
}

// Sorts an exception out of a template into "raised on purpose" and "broken", and keeps the cause
// without the excerpt of the template before it.
int template_failure(modeld_bytes * error, const std::string & what) {
    const auto raised = what.rfind(RAISED_MARK);
    if (raised != std::string::npos) {
        give(error, what.substr(raised + sizeof(RAISED_MARK) - 1));
        return MODELD_RAISED;
    }
    const auto cause = what.rfind(ERROR_MARK);
    give(error, cause == std::string::npos ? what : what.substr(cause + sizeof(ERROR_MARK) - 1));
    return MODELD_TEMPLATE;
}

common_chat_templates_inputs inputs_from(const common_json & request) {
    common_chat_templates_inputs in;
    in.messages              = common_chat_msgs_parse_oaicompat(request.at("messages"));
    in.add_generation_prompt = request.value("add_generation_prompt", true);
    if (request.value("continue_final_message", false)) {
        in.continue_final_message = COMMON_CHAT_CONTINUATION_AUTO;
    }
    if (request.contains("tools")) {
        in.tools = common_chat_tools_parse_oaicompat(request.at("tools"));
    }
    in.tool_choice =
        common_chat_tool_choice_parse_oaicompat(request.value("tool_choice", std::string("auto")));
    in.parallel_tool_calls = request.value("parallel_tool_calls", false);
    in.json_schema         = request.value("json_schema", std::string());
    in.grammar             = request.value("grammar", std::string());
    in.enable_thinking     = request.value("enable_thinking", true);
    in.reasoning_format    = common_reasoning_format_from_name(
        request.value("reasoning_format", std::string("none")));
    if (request.contains("chat_template_kwargs")) {
        for (const auto & [key, value] : request.at("chat_template_kwargs").items()) {
            in.chat_template_kwargs[key] = value.dump();
        }
    }
    return in;
}

common_json triggers_json(const std::vector<common_grammar_trigger> & triggers) {
    auto list = common_json::array();
    for (const auto & trigger : triggers) {
        auto one     = common_json::object();
        one["type"]  = static_cast<int>(trigger.type);
        one["value"] = trigger.value;
        one["token"] = static_cast<int64_t>(trigger.token);
        list.push_back(one);
    }
    return list;
}

std::string rendered_json(const common_chat_params & params) {
    auto out                  = common_json::object();
    out["prompt"]             = params.prompt;
    out["format"]             = std::string(common_chat_format_name(params.format));
    out["grammar"]            = params.grammar;
    out["grammar_lazy"]       = params.grammar_lazy;
    out["grammar_triggers"]   = triggers_json(params.grammar_triggers);
    out["generation_prompt"]  = params.generation_prompt;
    out["parser"]             = params.parser;
    out["supports_thinking"]  = params.supports_thinking;
    out["thinking_start_tag"] = params.thinking_start_tag;
    out["thinking_end_tags"]  = params.thinking_end_tags;
    out["preserved_tokens"]   = params.preserved_tokens;
    out["additional_stops"]   = params.additional_stops;
    return out.dump_safe();
}

} // namespace

extern "C" {

// Ends the process at once: no exit handlers, which would pull llama.cpp's globals away under a
// running decode.
void modeld_exit_now(int code) {
    std::_Exit(code);
}

void modeld_bytes_free(char * data) {
    std::free(data);
}

// llama.cpp's "common" part logs to stderr through a logger of its own, template text included.
void modeld_silence_common_log(void) {
    common_log_set_verbosity_thold(INT_MIN);
}

llama_context * modeld_context_new(llama_model * model, llama_context_params params,
                                   modeld_bytes * error) {
    llama_context * context = nullptr;
    guarded(error, [&] {
        context = llama_init_from_model(model, params);
        return MODELD_OK;
    });
    return context;
}

// `result` is llama_decode's own answer.
int modeld_decode(llama_context * context, llama_batch batch, int32_t * result,
                  modeld_bytes * error) {
    return guarded(error, [&] {
        *result = llama_decode(context, batch);
        return MODELD_OK;
    });
}

// Null when the batch's token at `index` asked for no logits.
const float * modeld_logits(llama_context * context, int32_t index) {
    const float * row = nullptr;
    guarded(nullptr, [&] {
        row = llama_get_logits_ith(context, index);
        return MODELD_OK;
    });
    return row;
}

// The pooled vector of a sequence of the last batch; null when there is none.
const float * modeld_pooled(llama_context * context, int32_t seq) {
    const float * row = nullptr;
    guarded(nullptr, [&] {
        row = llama_get_embeddings_seq(context, seq);
        return MODELD_OK;
    });
    return row;
}

// Forgets every sequence. Not for a context without memory.
int modeld_memory_clear(llama_context * context) {
    return guarded(nullptr, [&] {
        llama_memory_clear(llama_get_memory(context), false);
        return MODELD_OK;
    });
}

int modeld_sequence_remove(llama_context * context, int32_t seq, int32_t from, bool * removed) {
    return guarded(nullptr, [&] {
        *removed = llama_memory_seq_rm(llama_get_memory(context), seq, from, -1);
        return MODELD_OK;
    });
}

int modeld_sequence_copy(llama_context * context, int32_t from, int32_t to, int32_t len) {
    return guarded(nullptr, [&] {
        llama_memory_seq_cp(llama_get_memory(context), from, to, 0, len);
        return MODELD_OK;
    });
}

// `result` is llama_tokenize's own answer: a count, or minus the count that was needed.
int modeld_tokenize(const llama_vocab * vocab, const char * text, int32_t len, int32_t * tokens,
                    int32_t capacity, bool add_special, bool parse_special, int32_t * result,
                    modeld_bytes * error) {
    return guarded(error, [&] {
        *result =
            llama_tokenize(vocab, text, len, tokens, capacity, add_special, parse_special);
        return MODELD_OK;
    });
}

// `result` is llama_detokenize's own answer: a length, or minus the length that was needed.
int modeld_detokenize(const llama_vocab * vocab, const int32_t * tokens, int32_t count, char * text,
                      int32_t capacity, int32_t * result, modeld_bytes * error) {
    return guarded(error, [&] {
        *result = llama_detokenize(vocab, tokens, count, text, capacity, false, true);
        return MODELD_OK;
    });
}

// The text of a control token; null for every other one.
int modeld_control_text(const llama_vocab * vocab, int32_t token, const char ** text) {
    return guarded(nullptr, [&] {
        const bool control = (llama_vocab_get_attr(vocab, token) & LLAMA_TOKEN_ATTR_CONTROL) != 0;
        *text              = control ? llama_vocab_get_text(vocab, token) : nullptr;
        return MODELD_OK;
    });
}

// `result` is llama_token_to_piece's own answer; control tokens give nothing.
int modeld_token_piece(const llama_vocab * vocab, int32_t token, char * buffer, int32_t capacity,
                       int32_t * result) {
    return guarded(nullptr, [&] {
        *result = llama_token_to_piece(vocab, token, buffer, capacity, 0, /* special */ false);
        return MODELD_OK;
    });
}

// The most bytes of text that one token of the vocabulary can stand for.
int modeld_longest_token(const llama_vocab * vocab, size_t * longest) {
    return guarded(nullptr, [&] {
        const int32_t count = llama_vocab_n_tokens(vocab);
        *longest            = 0;
        for (int32_t token = 0; token < count; ++token) {
            const char * text = llama_vocab_get_text(vocab, token);
            if (text != nullptr) {
                *longest = std::max(*longest, std::strlen(text));
            }
        }
        return MODELD_OK;
    });
}

// Parses the model's chat template, or `source` instead where that is not empty. A model without
// one gets llama.cpp's fallback, ChatML.
int modeld_templates_new(const llama_model * model, const char * source, size_t len,
                         common_chat_templates ** out, modeld_bytes * error) {
    return guarded(error, [&]() -> int {
        const std::string replacement(source, len);
        try {
            *out = common_chat_templates_init(model, replacement).release();
            return MODELD_OK;
        } catch (...) {
        }
        // The exception above lost its text on the way. Parsing once more, directly, brings it back.
        std::string text = replacement;
        if (text.empty()) {
            const char * own = llama_model_chat_template(model, nullptr);
            text             = own != nullptr ? own : "";
        }
        try {
            const common_chat_template again(text, "", "");
        } catch (const std::exception & e) {
            template_failure(error, e.what());
            return MODELD_TEMPLATE;
        }
        give(error, "it cannot be parsed");
        return MODELD_TEMPLATE;
    });
}

void modeld_templates_free(common_chat_templates * templates) {
    common_chat_templates_free(templates);
}

// Renders a conversation. `request` is the JSON that `chat.rs` builds; `out` becomes the JSON that
// it reads, or the text of the error.
int modeld_templates_apply(const common_chat_templates * templates, const char * request,
                           size_t len, modeld_bytes * out) {
    return guarded(out, [&]() -> int {
        common_chat_templates_inputs inputs;
        try {
            inputs = inputs_from(common_json::parse(std::string(request, len)));
        } catch (const std::exception & e) {
            give(out, e.what());
            return MODELD_INPUT;
        }
        std::string failure;
        try {
            give(out, rendered_json(common_chat_templates_apply(templates, inputs)));
            return MODELD_OK;
        } catch (const std::exception & e) {
            failure = e.what();
        }
        // llama.cpp derives an output parser by rendering conversations of its own, which a strict
        // template may refuse. Where nothing needs that parser, only the client's conversation
        // decides.
        const bool plain = inputs.tools.empty() && inputs.json_schema.empty() &&
                           inputs.grammar.empty() &&
                           inputs.continue_final_message == COMMON_CHAT_CONTINUATION_NONE;
        if (plain) {
            inputs.force_pure_content = true;
            try {
                give(out, rendered_json(common_chat_templates_apply(templates, inputs)));
                return MODELD_OK;
            } catch (const std::exception & e) {
                failure = e.what();
            }
        }
        return template_failure(out, failure);
    });
}

} // extern "C"
