// As many.cpp, in tiles; the sums are the same integers, so results have the same bits.
#include "tile_products.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

void many(const Panel* weights, size_t panels, size_t quads, const Rounded& x, size_t tokens,
          float* block, size_t width) {
    static_assert(one_scale, "panels have scales of rows alone");
    const uint8_t* codes[many_panels];
    for (size_t i = 0; i < panels; ++i) codes[i] = weights[i].codes;
    PairSums<int32_t> sums[most_pairs];
    multiply<false>(codes, panels, quads / many_run, x.quads, tokens, sums);
    for (size_t token = 0; token < tokens; ++token, block += width) {
        const Vec scale = broadcast(x.scales[token]);
        const __m512i zero = _mm512_set1_epi32(-byte_zero * x.sums[token]);
        for (size_t i = 0; i < panels; ++i) {
            const int32_t* from = sums[i / 2].of[token] + i % 2 * panel_rows;
            const Rows rows = to_rows({_mm512_add_epi32(_mm512_load_si512(from), zero)});
            store(block + i * panel_rows, rows.part[0] * (load(weights[i].row_scales) * scale));
        }
    }
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
