// As many_bf16.cpp, in tiles. Sums come in one order for each token: the result does not depend on
// the tile.
#include "tile_products.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

void bf16_many(const uint8_t* const* weights, size_t panels, size_t blocks, const void* x,
               size_t tokens, float* block, size_t width) {
    PairSums<float> sums[most_pairs];
    multiply<true>(weights, panels, blocks * block_inputs / pair / many_run, x, tokens, sums);
    for (size_t token = 0; token < tokens; ++token, block += width) {
        for (size_t i = 0; i < panels; i += 2) {
            const size_t rows = i + 1 < panels ? pair_rows : panel_rows;
            memcpy(block + i * panel_rows, sums[i / 2].of[token], rows * sizeof(float));
        }
    }
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
