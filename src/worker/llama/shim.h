// What the C++ files of modeld's llama.cpp binding share: counted bytes for Rust, and the guard that
// no exception passes.

#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
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

[[maybe_unused]] void give(modeld_bytes * out, const std::string & text) {
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

} // namespace
