// Products in the tiles of AMX: 16 rows of 64 bytes, which 16 tokens or 16 lines of a panel fill.
#pragma once

#include "../layout.h"

#include <immintrin.h>

#define QWEN3_VL_TILES  // this, and not simd.h, tells what is said there of vectors

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr size_t tile_side = 16;
constexpr size_t tile_bytes = tile_side * line_bytes;

// Two tiles of tokens meet pairs of panels; a line of a tile is 64 bytes of one token.
constexpr size_t many_tokens = 2 * tile_side, many_panels = 8;
constexpr size_t many_run = tile_side;  // quads, or pairs, of a token that lie together
constexpr size_t some_pages = 4;        // of keys, between two looks at the largest score

// To be called between the writing of what tiles will load and that: GCC does not know that they
// read memory.
inline void settle([[maybe_unused]] const void* written) {
#if defined(__GNUC__)
    __asm__ volatile("" : : "r"(written) : "memory");
#endif
}

// This thread uses the tiles until it ends them: without that, to switch between threads costs
// more.
inline void begin_tiles() {
    struct alignas(line_bytes) {
        uint8_t palette = 1, start = 0, unused[14] = {};
        uint16_t row_bytes[16] = {};
        uint8_t rows[16] = {};
    } shapes;
    for (size_t tile = 0; tile < 8; ++tile) {
        shapes.row_bytes[tile] = line_bytes;
        shapes.rows[tile] = tile_side;
    }
    settle(&shapes);
    _tile_loadconfig(&shapes);
}

inline void end_tiles() { _tile_release(); }

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
