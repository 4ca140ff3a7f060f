// Unpacked panels times a tile of tokens: as fast as the integer products go.
//
// Each token has its own sums, of integers: the result does not depend on the tile.
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// Codes of 8 bits.
template <size_t tokens, size_t panels>
void bytes(const Panel* weights, size_t quads, const Rounded& rounded,
           WideSums (&sums)[tokens][panels]) {
    for (size_t token = 0; token < tokens; ++token) {
        for (WideSums& one : sums[token]) one = start_wide(-byte_zero * rounded.sums[token]);
    }
    const int32_t* x = rounded.quads;
    for (size_t at = 0; at < quads; ++at, x += many_tokens) {
        Quads codes[panels];
        for (size_t panel = 0; panel < panels; ++panel) {
            codes[panel] = load_quads(weights[panel].codes + at * line_bytes);
        }
        for (size_t token = 0; token < tokens; ++token) {
            for (size_t panel = 0; panel < panels; ++panel) {
                add_wide(sums[token][panel], codes[panel], x[token]);
            }
        }
    }
}

// Codes of 4 bits, with scales of groups.
template <size_t tokens, size_t panels>
void nibbles(const Panel* weights, size_t quads, const Rounded& rounded,
             WideSums (&totals)[tokens][panels]) {
    constexpr size_t step = group_inputs / quad;
    const int32_t *x = rounded.quads, *offsets = rounded.offsets;
    for (auto& token : totals) {
        for (WideSums& one : token) one = start_wide(0);
    }
    for (size_t group = 0; group < quads / step; ++group, offsets += many_tokens) {
        Sums sums[tokens][panels];
        for (size_t token = 0; token < tokens; ++token) {
            for (Sums& one : sums[token]) one = start(offsets[token]);
        }
        for (size_t i = 0; i < step; ++i, x += many_tokens) {
            Quads codes[panels];
            for (size_t panel = 0; panel < panels; ++panel) {
                codes[panel] = load_quads(weights[panel].codes + (group * step + i) * line_bytes);
            }
            for (size_t token = 0; token < tokens; ++token) {
                for (size_t panel = 0; panel < panels; ++panel) {
                    add_products(sums[token][panel], codes[panel], x[token]);
                }
            }
        }
        for (size_t panel = 0; panel < panels; ++panel) {
            const Scales scales = load_scales(weights[panel].scales + group * panel_rows);
            for (size_t token = 0; token < tokens; ++token) {
                add_scaled(totals[token][panel], sums[token][panel], scales);
            }
        }
    }
}

template <size_t tokens, size_t panels>
void tile(const Panel* weights, size_t quads, const Rounded& x, float* block, size_t width) {
    WideSums sums[tokens][panels];
    if constexpr (one_scale) {
        bytes<tokens, panels>(weights, quads, x, sums);
    } else if (weights[0].scales == nullptr) {
        bytes<tokens, panels>(weights, quads, x, sums);
    } else {
        nibbles<tokens, panels>(weights, quads, x, sums);
    }
    for (size_t token = 0; token < tokens; ++token, block += width) {
        const Vec scale = broadcast(x.scales[token]);
        for (size_t panel = 0; panel < panels; ++panel) {
            const Rows rows = to_rows(sums[token][panel]);
            for (size_t part = 0; part < Rows::parts; ++part) {
                const size_t at = part * Vec::lanes;
                store(block + panel * panel_rows + at,
                      rows.part[part] * (load(weights[panel].row_scales + at) * scale));
            }
        }
    }
}

template <size_t panels>
void by_tokens(const Panel* weights, size_t quads, const Rounded& x, size_t tokens, float* block,
               size_t width) {
    using Tile = void(const Panel*, size_t, const Rounded&, float*, size_t);
    static constexpr Tile* tiles[] = {tile<1, panels>, tile<2, panels>, tile<3, panels>,
                                      tile<4, panels>, tile<5, panels>, tile<6, panels>,
                                      tile<7, panels>, tile<8, panels>};
    tiles[tokens - 1](weights, quads, x, block, width);
}

}  // namespace

void many(const Panel* weights, size_t panels, size_t quads, const Rounded& x, size_t tokens,
          float* block, size_t width) {
    if (panels == 1) {
        by_tokens<1>(weights, quads, x, tokens, block, width);
    } else {
        by_tokens<2>(weights, quads, x, tokens, block, width);
    }
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
