#include "decoder.h"

#include "rounding.h"

#include <algorithm>
#include <stdexcept>

namespace qwen3_vl {
namespace {

constexpr size_t line_floats = line_bytes / sizeof(float);

size_t whole_lines(size_t floats) { return (floats + line_floats - 1) / line_floats * line_floats; }

void look_up(const Decoder& decoder, const int64_t* words, size_t tokens, float* stream) {
    const size_t hidden = decoder.hidden();
    const auto* const narrow = static_cast<const BFloat16*>(decoder.table);
    const auto* const same = static_cast<const float*>(decoder.table);
    for (size_t token = 0; token < tokens; ++token, stream += hidden) {
        const auto word = static_cast<size_t>(words[token]);
        if (word >= decoder.words) throw std::out_of_range("the table has no such word");
        const size_t row = word * hidden;
        if (decoder.is_bf16) {
            std::transform(narrow + row, narrow + row + hidden, stream, wide);
        } else {
            std::copy_n(same + row, hidden, stream);
        }
    }
}

}  // namespace

size_t Decoder::room(size_t tokens) const {
    size_t most = 0;
    for (const Layer& layer : layers) most = std::max(most, layer.room(tokens));
    return whole_lines(tokens * 2 * rotation.pairs) + whole_lines(tokens * hidden()) + most;
}

void run(const Kernels& kernels, Pool& pool, const Decoder& decoder, Pass pass,
         const int64_t* words, const Positions& positions, size_t tokens, void* out,
         const Head* head, float* logits, float* room) {
    const size_t hidden = decoder.hidden(), numbers = tokens * hidden;
    float* const turns = room;
    float* const stream = turns + whole_lines(tokens * 2 * decoder.rotation.pairs);
    float* const rest = stream + whole_lines(numbers);
    look_up(decoder, words, tokens, stream);
    turn(decoder.rotation, positions, tokens, turns);
    for (const Layer& layer : decoder.layers) {
        run(kernels, pool, layer, pass, turns, tokens, stream, rest);
        pass.stretches += pass.count;
    }
    if (decoder.is_bf16) {
        auto* const narrow = static_cast<BFloat16*>(out);
        std::transform(stream, stream + numbers, narrow, rounded);
        kernels.rms_norm_bf16(narrow, static_cast<const BFloat16*>(decoder.norm), narrow, tokens,
                              hidden, decoder.eps);
        std::transform(narrow, narrow + numbers, stream, wide);
    } else {
        kernels.rms_norm_f32(stream, static_cast<const float*>(decoder.norm), stream, tokens,
                             hidden, decoder.eps);
        std::copy_n(stream, numbers, static_cast<float*>(out));
    }
    if (head) score(kernels, pool, *head, stream, tokens, logits);
}

}  // namespace qwen3_vl
