// The C++ side of modeld's binding of llama.cpp's projectors (mtmd): images and sounds to rows that
// the model reads in place of tokens. As in chat_shim.cpp, every function catches every exception.
//
// Files are decoded in Rust: nothing here sees more than pixels and samples, and mtmd's own helpers,
// which may start other programs to decode a file, are not used.

#include "llama.h"
#include "mtmd.h"
#include "shim.h"

#include <memory>

namespace {

struct free_bitmap {
    void operator()(mtmd_bitmap * bitmap) const { mtmd_bitmap_free(bitmap); }
};

struct free_chunks {
    void operator()(mtmd_input_chunks * chunks) const { mtmd_input_chunks_free(chunks); }
};

} // namespace

extern "C" {

// What a projector takes. Keep in step with `Traits` in shim.rs.
struct modeld_projector_traits {
    bool    vision;
    bool    audio;
    bool    mrope;
    int32_t sample_rate;
};

// One piece of what a medium becomes. Keep in step with `RawChunk` in shim.rs.
struct modeld_chunk {
    // The model's own tokens around the rows; null in a piece that is rows.
    const llama_token * tokens;
    // Tokens or rows.
    size_t count;
    // The positions that the rows take up.
    int32_t positions;
    // Its rows look at each other in both directions.
    bool whole;
};

// Null when the file cannot be used; mtmd logs why.
mtmd_context * modeld_projector_new(const char * path, const llama_model * model, int32_t threads,
                                    modeld_bytes * error) {
    mtmd_context * projector = nullptr;
    guarded(error, [&] {
        mtmd_context_params params = mtmd_context_params_default();
        params.print_timings       = false;
        params.n_threads           = threads;
        projector                  = mtmd_init_from_file(path, model, params);
        return MODELD_OK;
    });
    return projector;
}

void modeld_projector_free(mtmd_context * projector) {
    guarded(nullptr, [&] {
        mtmd_free(projector);
        return MODELD_OK;
    });
}

int modeld_projector_describe(const mtmd_context * projector, modeld_projector_traits * traits) {
    return guarded(nullptr, [&] {
        traits->vision      = mtmd_support_vision(projector);
        traits->audio       = mtmd_support_audio(projector);
        traits->mrope       = mtmd_decode_use_mrope(projector);
        traits->sample_rate = traits->audio ? mtmd_get_audio_sample_rate(projector) : 0;
        return MODELD_OK;
    });
}

// Prepares an image (`rgb`, width × height × 3 bytes) or, where that is null, a sound (`samples`).
// `chunks` becomes its pieces with the model's own tokens around them, or stays null.
int modeld_media_split(const mtmd_context * projector, const unsigned char * rgb, uint32_t width,
                       uint32_t height, const float * samples, size_t sample_count,
                       mtmd_input_chunks ** chunks, modeld_bytes * error) {
    return guarded(error, [&]() -> int {
        const std::unique_ptr<mtmd_bitmap, free_bitmap> bitmap(
            rgb != nullptr ? mtmd_bitmap_init(width, height, rgb)
                           : mtmd_bitmap_init_from_audio(sample_count, samples));
        std::unique_ptr<mtmd_input_chunks, free_chunks> out(mtmd_input_chunks_init());
        const mtmd_input_part   part  = { nullptr, bitmap.get() };
        const mtmd_input_part * parts = &part;
        if (mtmd_tokenize_from_parts(projector, out.get(), &parts, 1, /* add_special */ false) != 0) {
            return MODELD_INPUT;
        }
        *chunks = out.release();
        return MODELD_OK;
    });
}

void modeld_chunks_free(mtmd_input_chunks * chunks) {
    guarded(nullptr, [&] {
        mtmd_input_chunks_free(chunks);
        return MODELD_OK;
    });
}

size_t modeld_chunks_count(const mtmd_input_chunks * chunks) {
    return mtmd_input_chunks_size(chunks);
}

// `index` is below the count.
int modeld_chunks_get(const mtmd_context * projector, const mtmd_input_chunks * chunks,
                      size_t index, modeld_chunk * out) {
    return guarded(nullptr, [&]() -> int {
        const mtmd_input_chunk * chunk = mtmd_input_chunks_get(chunks, index);
        if (chunk == nullptr) {
            return MODELD_INPUT;
        }
        *out = {};
        if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
            out->tokens = mtmd_input_chunk_get_tokens_text(chunk, &out->count);
            return MODELD_OK;
        }
        out->count     = mtmd_input_chunk_get_n_tokens(chunk);
        out->positions = mtmd_input_chunk_get_n_pos(chunk);
        out->whole     = mtmd_decode_use_non_causal(projector, chunk);
        return MODELD_OK;
    });
}

// Computes the rows of the piece at `index`, which is no text, into `rows`: `count` × `width` floats,
// as modeld_chunks_get and llama_model_n_embd_inp say.
int modeld_chunks_encode(mtmd_context * projector, const mtmd_input_chunks * chunks, size_t index,
                         float * rows, size_t floats, modeld_bytes * error) {
    return guarded(error, [&]() -> int {
        const mtmd_input_chunk * chunk = mtmd_input_chunks_get(chunks, index);
        if (chunk == nullptr || mtmd_encode_chunk(projector, chunk) != 0) {
            return MODELD_INPUT;
        }
        const float * out = mtmd_get_output_embd(projector);
        if (out == nullptr) {
            return MODELD_INPUT;
        }
        std::memcpy(rows, out, floats * sizeof(float));
        return MODELD_OK;
    });
}

// Computes a batch whose positions all see each other.
int modeld_decode_whole(llama_context * context, llama_batch batch, int32_t * result,
                        modeld_bytes * error) {
    llama_set_causal_attn(context, false);
    const int status = guarded(error, [&] {
        *result = llama_decode(context, batch);
        return MODELD_OK;
    });
    llama_set_causal_attn(context, true);
    return status;
}

} // extern "C"
