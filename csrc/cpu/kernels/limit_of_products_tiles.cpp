// As limit_of_products.cpp, in tiles.
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

size_t product_rounds(size_t rounds, float* left) {
    alignas(line_bytes) uint8_t lines[tile_bytes];
    for (size_t i = 0; i < tile_bytes; ++i) lines[i] = static_cast<uint8_t>(i % 15);
    begin_tiles();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, lines, line_bytes);
    _tile_loadd(5, lines, line_bytes);
    _tile_loadd(6, lines, line_bytes);
    _tile_loadd(7, lines, line_bytes);
    for (size_t round = 0; round < rounds; ++round) {
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
    }
    alignas(line_bytes) int32_t sums[tile_side][panel_rows];
    _tile_stored(3, sums, line_bytes);
    end_tiles();
    *left += static_cast<float>(sums[0][0]);
    return rounds * 4 * tile_side * panel_rows * line_bytes;
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
