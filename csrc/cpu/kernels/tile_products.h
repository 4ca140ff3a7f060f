// Panels times a tile of tokens where the processor multiplies whole tiles: 16 tokens and 16 rows
// of weights meet in one instruction.
#pragma once

#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr size_t pair_rows = 2 * panel_rows;  // panels meet tokens in pairs
constexpr size_t most_pairs = many_panels / 2;
constexpr size_t near_steps =
    8;  // whose tokens stay in the nearest cache while all pairs meet them

// Of all tokens with a pair of panels, as the tiles hold them.
template <typename Number>
struct PairSums {
    alignas(line_bytes) Number of[many_tokens][pair_rows];
};

// Goes on with sums. Tiles 0 to 3 hold them, of the first tokens and of the others with one panel
// and the next; 4 and 5 tokens, 6 and 7 panels. The compiler wants these numbers as they are
// written.
template <bool is_bf16, bool more_tokens, bool more_panels>
void add_products(const uint8_t* first, const uint8_t* second, const uint8_t* x, size_t steps,
                  bool begins, void* sums) {
    constexpr size_t stride = 2 * line_bytes;
    settle(sums);
    uint8_t* const upper = static_cast<uint8_t*>(sums);
    uint8_t* const lower = upper + tile_side * stride;
    if (begins) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, upper, stride);
        if constexpr (more_panels) _tile_loadd(1, upper + line_bytes, stride);
        if constexpr (more_tokens) _tile_loadd(2, lower, stride);
        if constexpr (more_tokens && more_panels) _tile_loadd(3, lower + line_bytes, stride);
    }
    for (; steps > 0; --steps, first += tile_bytes, second += tile_bytes, x += 2 * tile_bytes) {
        _tile_loadd(4, x, line_bytes);
        _tile_loadd(6, first, line_bytes);
        if constexpr (more_panels) _tile_loadd(7, second, line_bytes);
        if constexpr (more_tokens) _tile_loadd(5, x + tile_bytes, line_bytes);
        if constexpr (is_bf16) {
            _tile_dpbf16ps(0, 4, 6);
            if constexpr (more_panels) _tile_dpbf16ps(1, 4, 7);
            if constexpr (more_tokens) _tile_dpbf16ps(2, 5, 6);
            if constexpr (more_tokens && more_panels) _tile_dpbf16ps(3, 5, 7);
        } else {
            _tile_dpbsud(0, 4, 6);
            if constexpr (more_panels) _tile_dpbsud(1, 4, 7);
            if constexpr (more_tokens) _tile_dpbsud(2, 5, 6);
            if constexpr (more_tokens && more_panels) _tile_dpbsud(3, 5, 7);
        }
    }
    _tile_stored(0, upper, stride);
    if constexpr (more_panels) _tile_stored(1, upper + line_bytes, stride);
    if constexpr (more_tokens) _tile_stored(2, lower, stride);
    if constexpr (more_tokens && more_panels) _tile_stored(3, lower + line_bytes, stride);
}

// The sums of tokens and panels that are not there mean nothing.
template <bool is_bf16, typename Number>
void multiply(const uint8_t* const* weights, size_t panels, size_t steps, const void* x,
              size_t tokens, PairSums<Number>* sums) {
    using Add = void(const uint8_t*, const uint8_t*, const uint8_t*, size_t, bool, void*);
    static constexpr Add* kinds[2][2] = {
        {add_products<is_bf16, false, false>, add_products<is_bf16, false, true>},
        {add_products<is_bf16, true, false>, add_products<is_bf16, true, true>}};
    begin_tiles();
    for (size_t at = 0; at < steps; at += near_steps) {
        const size_t count = steps - at < near_steps ? steps - at : near_steps;
        const auto* tokens_at = static_cast<const uint8_t*>(x) + at * 2 * tile_bytes;
        for (size_t i = 0; i < panels; i += 2) {
            const size_t last = i + 1 < panels ? i + 1 : i;
            kinds[tokens > tile_side][last > i](weights[i] + at * tile_bytes,
                                                weights[last] + at * tile_bytes, tokens_at, count,
                                                at == 0, sums[i / 2].of);
        }
    }
    end_tiles();
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
