// The C++ side of modeld's llama.cpp binding: every function here catches every exception, so that
// none can reach Rust (where it would end the process), and hands text back as counted bytes.
//
// Bounds (token ids, sequence ids, batch sizes) are checked by the Rust side before it calls:
// llama.cpp answers some violations with abort(), which nothing here could catch.

#include "chat.h"
#include "chat-peg-parser.h"
#include "common.h"
#include "json-schema-to-grammar.h"
#include "llama.h"
#include "log.h"
#include "shim.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <vector>

extern "C" {

// What is needed to read one format's answers.
struct modeld_parser {
    common_chat_parser_params params;
};

} // extern "C"

namespace {

// What the jinja engine puts before the text of raise_exception.
const char RAISED_MARK[] = "Jinja Exception: ";
// What it puts before the cause of any failure, after an excerpt of the template.
const char ERROR_MARK[] = "Error: ";

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

// Whether every answer is content as it stands, so that nobody has to parse it.
bool is_plain(const common_peg_arena & arena, common_peg_parser_id id, int depth = 0) {
    if (depth > 16) {
        return false;
    }
    const auto & node = arena.get(id);
    if (const auto * sequence = std::get_if<common_peg_sequence_parser>(&node)) {
        return std::all_of(sequence->children.begin(), sequence->children.end(),
                           [&](auto child) { return is_plain(arena, child, depth + 1); });
    }
    if (const auto * tag = std::get_if<common_peg_tag_parser>(&node)) {
        return tag->tag == common_chat_peg_builder::CONTENT &&
               is_plain(arena, tag->child, depth + 1);
    }
    if (const auto * until = std::get_if<common_peg_until_parser>(&node)) {
        return until->delimiters.empty();
    }
    return std::holds_alternative<common_peg_epsilon_parser>(node) ||
           std::holds_alternative<common_peg_literal_parser>(node) ||
           std::holds_alternative<common_peg_space_parser>(node) ||
           std::holds_alternative<common_peg_start_parser>(node) ||
           std::holds_alternative<common_peg_end_parser>(node);
}

// A schema within the document that it was read from.
struct schema_place {
    common_chat_schema_document_ptr document;
    const common_chat_schema *      node = nullptr;
};

// The schemas of all arguments under the names that llama.cpp's parsers know them by. A name that
// two of them share (as of the tools "a" and "a-arg-b") stands for none.
std::map<std::string, schema_place> argument_schemas(const std::vector<common_chat_tool> & tools) {
    std::map<std::string, schema_place> places;
    const auto add = [&](const std::string & name, const schema_place & place) {
        const auto [known, is_new] = places.emplace(name, place);
        if (!is_new) {
            known->second = {};
        }
    };
    for (const auto & tool : tools) {
        auto function          = common_json::object();
        function["parameters"] = common_json::parse(tool.parameters);
        const auto document    = std::make_shared<const common_chat_schema_document>(
            common_chat_schema_from_json(common_chat_tool_parameters(function)));
        if (!document->root) {
            continue;
        }
        const auto stem = "tool-" + tool.name;
        add(stem + "-schema", { document, document->root.get() });
        const auto * object = dynamic_cast<const common_chat_schema_object *>(document->root.get());
        if (object == nullptr) {
            continue;
        }
        for (const auto & property : object->properties) {
            add(stem + "-arg-" + property.name + "-schema", { document, property.schema.get() });
        }
    }
    return places;
}

// What may come before the calls of an answer, and where it cannot be left out.
struct talk {
    const common_peg_arena & arena;
    const bool               silent;  // no thoughts either
    std::vector<int8_t>      known = std::vector<int8_t>(arena.size(), -1);

    bool is_tagged(const common_peg_tag_parser & tag) const {
        return tag.tag == common_chat_peg_builder::CONTENT ||
               (silent && tag.tag == common_chat_peg_builder::REASONING);
    }

    // Whether the node cannot be had without. Rules may be recursive: a node that is being looked
    // at counts as one that can.
    bool needed(common_peg_parser_id id) {
        if (known.at(id) >= 0) {
            return known[id] != 0;
        }
        known[id]         = 0;
        const auto & node = arena.get(id);
        const auto child  = [&](common_peg_parser_id one) { return needed(one); };
        bool       is     = false;
        if (const auto * tag = std::get_if<common_peg_tag_parser>(&node)) {
            is = is_tagged(*tag) || needed(tag->child);
        } else if (const auto * sequence = std::get_if<common_peg_sequence_parser>(&node)) {
            is = std::any_of(sequence->children.begin(), sequence->children.end(), child);
        } else if (const auto * choice = std::get_if<common_peg_choice_parser>(&node)) {
            is = !choice->children.empty() &&
                 std::all_of(choice->children.begin(), choice->children.end(), child);
        } else if (const auto * repetition = std::get_if<common_peg_repetition_parser>(&node)) {
            is = repetition->min_count > 0 && needed(repetition->child);
        } else if (const auto * rule = std::get_if<common_peg_rule_parser>(&node)) {
            is = needed(rule->child);
        } else if (const auto * ref = std::get_if<common_peg_ref_parser>(&node)) {
            is = needed(arena.get_rule(ref->name));
        } else if (const auto * atomic = std::get_if<common_peg_atomic_parser>(&node)) {
            is = needed(atomic->child);
        }
        known[id] = is ? 1 : 0;
        return is;
    }
};

// Takes out of the parser what comes before the calls, with the marks around it where it can do
// without them; where it cannot, no text may stand between them.
void hush(common_peg_arena & arena, bool silent) {
    const auto before = arena;
    talk       said{ before, silent };
    for (common_peg_parser_id id = 0; id < arena.size(); ++id) {
        auto & node = arena.get(id);
        if (const auto * tag = std::get_if<common_peg_tag_parser>(&node)) {
            if (tag->tag == common_chat_peg_builder::CONTENT) {
                node = common_peg_epsilon_parser{};
            }
        } else if (const auto * repetition = std::get_if<common_peg_repetition_parser>(&node)) {
            if (repetition->min_count == 0 && said.needed(repetition->child)) {
                node = common_peg_epsilon_parser{};
            }
        } else if (auto * choice = std::get_if<common_peg_choice_parser>(&node)) {
            if (!said.needed(id)) {
                auto & ways = choice->children;
                ways.erase(std::remove_if(ways.begin(), ways.end(),
                                          [&](auto way) { return said.needed(way); }),
                           ways.end());
            }
        }
    }
}

// The grammar of an answer that consists of calls: llama.cpp's own lets any text come before the
// first call, which a weak model never gets past. Thoughts may still come before, unless the answer
// is to be without or begins with one. False where it cannot be had without letting go of a schema.
bool calls_only(const common_chat_params & params, const common_chat_templates_inputs & inputs,
                std::string & grammar) {
    common_peg_arena arena;
    arena.load(params.parser);
    const auto & start  = params.thinking_start_tag;
    const bool   begins = !start.empty() && params.generation_prompt.find(start) != std::string::npos;
    hush(arena, !inputs.enable_thinking && !begins);
    const auto schemas = argument_schemas(inputs.tools);
    for (common_peg_parser_id id = 0; id < arena.size(); ++id) {
        auto * schema = std::get_if<common_peg_schema_parser>(&arena.get(id));
        if (schema == nullptr) {
            continue;
        }
        // A saved parser has no schemas, and without one any JSON would do.
        const auto place = schemas.find(schema->name);
        if (place == schemas.end() || place->second.node == nullptr) {
            return false;
        }
        schema->doc  = place->second.document;
        schema->node = place->second.node;
    }
    grammar = build_grammar(
        [&](const common_grammar_builder & builder) { arena.build_grammar(builder, false); });
    return true;
}

std::string rendered_json(const common_chat_params &           params,
                          const common_chat_templates_inputs & inputs) {
    const bool       must_call = inputs.tool_choice == COMMON_CHAT_TOOL_CHOICE_REQUIRED;
    common_peg_arena arena;
    if (!params.parser.empty()) {
        arena.load(params.parser);
    }
    auto out                  = common_json::object();
    out["plain"]              = arena.empty() || is_plain(arena, arena.root());
    if (must_call && !params.grammar.empty() && !params.grammar_lazy) {
        std::string grammar;
        if (!arena.empty() && calls_only(params, inputs, grammar)) {
            out["calls_only"] = grammar;
        }
    }
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

// Belongs to the model and is freed with it. Null where it cannot be used: llama.cpp has said why.
llama_adapter_lora * modeld_adapter_load(llama_model * model, const char * path,
                                         modeld_bytes * error) {
    llama_adapter_lora * adapter = nullptr;
    guarded(error, [&] {
        adapter = llama_adapter_lora_init(model, path);
        return MODELD_OK;
    });
    return adapter;
}

// Applies these adapters, each in its full strength, and no others.
int modeld_adapters_apply(llama_context * context, llama_adapter_lora ** adapters, size_t count,
                          modeld_bytes * error) {
    return guarded(error, [&] {
        std::vector<float> scales(count, 1.0f);
        return llama_set_adapters_lora(context, adapters, count, scales.data()) == 0
                   ? MODELD_OK
                   : MODELD_INPUT;
    });
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

// `result` is llama_token_to_piece's own answer; control tokens give nothing unless `special`.
int modeld_token_piece(const llama_vocab * vocab, int32_t token, char * buffer, int32_t capacity,
                       bool special, int32_t * result) {
    return guarded(nullptr, [&] {
        *result = llama_token_to_piece(vocab, token, buffer, capacity, 0, special);
        return MODELD_OK;
    });
}

// As modeld_token_piece, with the texts of control tokens: what llama.cpp's grammars see.
int modeld_token_text(const llama_vocab * vocab, int32_t token, char * buffer, int32_t capacity,
                      int32_t * result) {
    return guarded(nullptr, [&] {
        *result = llama_token_to_piece(vocab, token, buffer, capacity, 0, /* special */ true);
        return MODELD_OK;
    });
}

// A grammar whose root is the rule "root". With `skip` it expects the first token's text only from
// that byte on. Null where llama.cpp does not take it.
llama_sampler * modeld_grammar_new(const llama_vocab * vocab, const char * text, size_t skip,
                                   modeld_bytes * error) {
    llama_sampler * sampler = nullptr;
    guarded(error, [&] {
        if (skip == 0) {
            sampler = llama_sampler_init_grammar(vocab, text, "root");
        } else {
            // Triggered by whatever comes; the group says from where on it counts.
            const std::string pattern = "^[\\s\\S]{" + std::to_string(skip) + "}([\\s\\S]+)$";
            const char *      list[]  = { pattern.c_str() };
            sampler                   = llama_sampler_init_grammar_lazy_patterns(
                vocab, text, "root", list, 1, nullptr, 0);
        }
        return MODELD_OK;
    });
    return sampler;
}

// Sets the logits of the tokens that may not come next to minus infinity. `logits` is indexed by
// token from `first` on.
int modeld_grammar_apply(llama_sampler * sampler, int32_t first, float * logits, size_t count,
                         modeld_bytes * error) {
    return guarded(error, [&] {
        std::vector<llama_token_data> tokens;
        tokens.reserve(count);
        for (size_t i = 0; i < count; ++i) {
            if (logits[i] > -INFINITY) {
                tokens.push_back({ first + static_cast<int32_t>(i), 1.0f, 0.0f });
            }
        }
        llama_token_data_array array = { tokens.data(), tokens.size(), -1, false };
        llama_sampler_apply(sampler, &array);
        for (size_t i = 0; i < array.size; ++i) {
            if (array.data[i].logit == -INFINITY) {
                logits[array.data[i].id - first] = -INFINITY;
            }
        }
        return MODELD_OK;
    });
}

int modeld_grammar_accept(llama_sampler * sampler, int32_t token, modeld_bytes * error) {
    return guarded(error, [&] {
        llama_sampler_accept(sampler, token);
        return MODELD_OK;
    });
}

llama_sampler * modeld_grammar_clone(const llama_sampler * sampler, modeld_bytes * error) {
    llama_sampler * copy = nullptr;
    guarded(error, [&] {
        copy = llama_sampler_clone(sampler);
        return MODELD_OK;
    });
    return copy;
}

void modeld_grammar_free(llama_sampler * sampler) {
    guarded(nullptr, [&] {
        llama_sampler_free(sampler);
        return MODELD_OK;
    });
}

// A regular expression in the syntax of llama.cpp's triggers.
std::regex * modeld_regex_new(const char * pattern, size_t len, modeld_bytes * error) {
    std::regex * regex = nullptr;
    guarded(error, [&] {
        regex = new std::regex(pattern, len);
        return MODELD_OK;
    });
    return regex;
}

void modeld_regex_free(std::regex * regex) {
    delete regex;
}

// Looks for the expression in the text, or compares it with all of it. `start` becomes where the
// first group that is not empty begins, else where the match begins; SIZE_MAX: no match.
int modeld_regex_find(const std::regex * regex, const char * text, size_t len, bool whole,
                      size_t * start, modeld_bytes * error) {
    return guarded(error, [&] {
        *start = SIZE_MAX;
        std::cmatch match;
        const bool  found = whole ? std::regex_match(text, text + len, match, *regex)
                                  : std::regex_search(text, text + len, match, *regex);
        if (!found) {
            return MODELD_OK;
        }
        *start = static_cast<size_t>(match.position(0));
        for (size_t group = 1; group < match.size(); ++group) {
            if (match.length(group) > 0) {
                *start = static_cast<size_t>(match.position(group));
                break;
            }
        }
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
            give(out, rendered_json(common_chat_templates_apply(templates, inputs), inputs));
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
                give(out, rendered_json(common_chat_templates_apply(templates, inputs), inputs));
                return MODELD_OK;
            } catch (const std::exception & e) {
                failure = e.what();
            }
        }
        return template_failure(out, failure);
    });
}

// What the template can do: the JSON object of llama.cpp's capability names.
int modeld_templates_caps(const common_chat_templates * templates, modeld_bytes * out) {
    return guarded(out, [&] {
        auto caps = common_json::object();
        for (const auto & [name, able] : common_chat_templates_get_caps(templates)) {
            caps[name] = able;
        }
        give(out, caps.dump_safe());
        return MODELD_OK;
    });
}

// Makes a parser from what rendering gave: `format` is the JSON {format, parser,
// generation_prompt}.
int modeld_parser_new(const char * format, size_t len, modeld_parser ** out,
                      modeld_bytes * error) {
    return guarded(error, [&]() -> int {
        const auto json   = common_json::parse(std::string(format, len));
        auto       parser = std::make_unique<modeld_parser>();
        auto &     params = parser->params;
        const auto name   = json.at("format").get<std::string>();
        bool       known  = false;
        for (int i = 0; i < COMMON_CHAT_FORMAT_COUNT; ++i) {
            const auto one = static_cast<common_chat_format>(i);
            if (name == common_chat_format_name(one)) {
                params.format = one;
                known         = true;
            }
        }
        if (!known) {
            give(error, "an unknown format: " + name);
            return MODELD_INPUT;
        }
        params.reasoning_format  = COMMON_REASONING_FORMAT_DEEPSEEK;
        params.generation_prompt = json.value("generation_prompt", std::string());
        const auto saved         = json.value("parser", std::string());
        if (!saved.empty()) {
            params.parser.load(saved);
        }
        *out = parser.release();
        return MODELD_OK;
    });
}

void modeld_parser_free(modeld_parser * parser) {
    delete parser;
}

// Reads an answer, or (`partial`) as much of it as there is. `out` becomes the JSON {content,
// reasoning, calls: [{id, name, arguments}]}, or the text of the error.
int modeld_parser_parse(const modeld_parser * parser, const char * text, size_t len, bool partial,
                        modeld_bytes * out) {
    return guarded(out, [&] {
        const auto message = common_chat_parse(std::string(text, len), partial, parser->params);
        auto       json    = common_json::object();
        json["content"]    = message.content;
        json["reasoning"]  = message.reasoning_content;
        auto calls         = common_json::array();
        for (const auto & call : message.tool_calls) {
            auto one         = common_json::object();
            one["id"]        = call.id;
            one["name"]      = call.name;
            one["arguments"] = call.arguments;
            calls.push_back(one);
        }
        json["calls"] = calls;
        give(out, json.dump_safe());
        return MODELD_OK;
    });
}

} // extern "C"
