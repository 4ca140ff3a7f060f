// Unpacks a panel of int4 weights once, for all tokens that meet it.
//
// Where products of bytes are fast a row gets one scale for all its codes, finer than the rounding
// to four bits was. Else codes stay as they are, each in a byte, and groups keep their scales.
#include "../kernels.h"
#include "../simd/ahead.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

// Makes [inputs / 4][16][4] codes, then [inputs / 32][16] scales, then [16] scales of rows.
Panel unpack_int4(const uint8_t* weights, size_t blocks, uint8_t* room) {
    uint8_t* const codes = room;
    uint8_t* const scales = codes + blocks * block_inputs * panel_rows;
    float* const row_scales = reinterpret_cast<float*>(scales + blocks * line_bytes);
    for (size_t block = 0; block < blocks; ++block, weights += block_bytes) {
        const uint8_t* group_scales = weights + block_lines * line_bytes;
        for (size_t line = 0; line < block_lines; ++line, room += 2 * line_bytes) {
            const size_t group = line * 8 / group_inputs;
            ask_for(weights + line * line_bytes);
            unpack_line(weights + line * line_bytes, group_scales + group * panel_rows, room,
                        room + line_bytes);
        }
        memcpy(scales + block * line_bytes, group_scales, line_bytes);
    }
    const float* from = reinterpret_cast<const float*>(weights);
    for (size_t row = 0; row < panel_rows; ++row) row_scales[row] = from[row] * (one_scale ? 8 : 1);
    return {codes, one_scale ? nullptr : scales, row_scales};
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
