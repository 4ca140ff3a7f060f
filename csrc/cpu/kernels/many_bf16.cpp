// Weights in bfloat16 times a tile of tokens: as fast as the products go.
//
// Each token has its own sums, in one order: the result does not depend on the tile.
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

FewPairs bf16_few;

namespace {

template <size_t tokens, size_t panels>
void tile(const uint8_t* const* weights, size_t blocks, const Pair* x, float* block, size_t width) {
    Rows sums[tokens][panels] = {};
    for (size_t at = 0; at < blocks * block_inputs / pair; ++at, x += many_tokens) {
        const uint8_t* lines[panels];
        for (size_t i = 0; i < panels; ++i) lines[i] = weights[i] + at * line_bytes;
        add_line(sums, lines, x);
    }
    for (size_t token = 0; token < tokens; ++token, block += width) {
        for (size_t panel = 0; panel < panels; ++panel) {
            for (size_t part = 0; part < Rows::parts; ++part) {
                store(block + panel * panel_rows + part * Vec::lanes,
                      sums[token][panel].part[part]);
            }
        }
    }
}

template <size_t panels>
void by_tokens(const uint8_t* const* weights, size_t blocks, const Pair* x, size_t tokens,
               float* block, size_t width) {
    using Tile = void(const uint8_t* const*, size_t, const Pair*, float*, size_t);
    static constexpr Tile* tiles[] = {tile<1, panels>, tile<2, panels>, tile<3, panels>,
                                      tile<4, panels>, tile<5, panels>, tile<6, panels>,
                                      tile<7, panels>, tile<8, panels>};
    tiles[tokens - 1](weights, blocks, x, block, width);
}

template <typename Any>
void multiply(const uint8_t* const* weights, size_t panels, size_t blocks, const Any* x,
              size_t tokens, float* block, size_t width) {
    if (panels == 1) {
        by_tokens<1>(weights, blocks, x, tokens, block, width);
    } else {
        by_tokens<2>(weights, blocks, x, tokens, block, width);
    }
}

// In float32 a tile is a few tokens.
template <>
inline void multiply(const uint8_t* const* weights, size_t panels, size_t blocks,
                     const FloatPair* x, size_t tokens, float* block, size_t width) {
    for (size_t i = 0; i < panels; ++i) {
        bf16_few(weights[i], blocks, x, many_tokens, tokens, block + i * panel_rows, width);
    }
}

}  // namespace

void bf16_many(const uint8_t* const* weights, size_t panels, size_t blocks, const void* x,
               size_t tokens, float* block, size_t width) {
    multiply(weights, panels, blocks, static_cast<const Pair*>(x), tokens, block, width);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
