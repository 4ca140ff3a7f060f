// Weights in bfloat16 times one to eight tokens in float32: as fast as the weights come from
// memory. A token's result does not depend on how many there are.
#include "../kernels.h"
#include "../simd/ahead.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// Tokens whose sums stay in registers.
constexpr size_t at_once = Rows::parts == 1 ? 8 : 3;

// Adds the products of a block of inputs for the tokens from `from` on, some at once. First and
// second inputs of the lines are added up apart: so additions wait less for each other.
template <size_t tokens, size_t from = 0>
void add_block(const uint8_t* weights, const FloatPair* x, size_t apart, Rows* first,
               Rows* second) {
    constexpr size_t now = tokens - from < at_once ? tokens - from : at_once;
    Rows sums[pair][now];
    for (size_t i = 0; i < now; ++i) {
        for (size_t part = 0; part < Rows::parts; ++part) {
            sums[0][i].part[part] = first[from + i].part[part];
            sums[1][i].part[part] = second[from + i].part[part];
        }
    }
    for (size_t at = 0; at < block_inputs / pair; ++at) {
        const uint8_t* const line = weights + at * line_bytes;
        ask_for(line);
        add_side<0>(sums[0], line, x + at * apart + from);
        add_side<1>(sums[1], line, x + at * apart + from);
    }
    for (size_t i = 0; i < now; ++i) {
        for (size_t part = 0; part < Rows::parts; ++part) {
            first[from + i].part[part] = sums[0][i].part[part];
            second[from + i].part[part] = sums[1][i].part[part];
        }
    }
    if constexpr (from + now < tokens) {
        add_block<tokens, from + now>(weights, x, apart, first, second);
    }
}

template <size_t tokens>
void panel(const uint8_t* weights, size_t blocks, const FloatPair* x, size_t apart, float* out,
           size_t stride) {
    constexpr size_t lines = block_inputs / pair;
    Rows first[tokens] = {}, second[tokens] = {};
    for (size_t block = 0; block < blocks; ++block, weights += lines * line_bytes) {
        add_block<tokens>(weights, x + block * lines * apart, apart, first, second);
    }
    for (size_t token = 0; token < tokens; ++token) {
        for (size_t part = 0; part < Rows::parts; ++part) {
            store(out + token * stride + part * Vec::lanes,
                  first[token].part[part] + second[token].part[part]);
        }
    }
}

}  // namespace

void bf16_few(const uint8_t* weights, size_t blocks, const FloatPair* x, size_t apart,
              size_t tokens, float* out, size_t stride) {
    using Tokens = void(const uint8_t*, size_t, const FloatPair*, size_t, float*, size_t);
    static constexpr Tokens* panels[] = {panel<1>, panel<2>, panel<3>, panel<4>,
                                         panel<5>, panel<6>, panel<7>, panel<8>};
    panels[tokens - 1](weights, blocks, x, apart, out, stride);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
