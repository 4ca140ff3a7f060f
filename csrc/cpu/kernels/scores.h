// Products of rounded queries with the keys of a page in 8 bits.
#pragma once

#include "softmax.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// A query rounded as activations are, and what the zero of the keys' codes takes from it. Where all
// is zero any scale is right, but none may be zero: scores are multiplied with it.
inline void round_query(const float* q, size_t dim, int8_t* codes, int32_t& offset, float& scale) {
    Vec most = broadcast(0);
    for (size_t i = 0; i < dim; i += Vec::lanes) most = maximum(most, absolute(load(q + i)));
    const float reach = largest_of(most);
    scale = reach > 0 ? reach / largest_against_bytes : 1;
    const Vec inverse = broadcast(1 / scale);
    for (size_t i = 0; i < dim; i += Vec::lanes) store(codes + i, load(q + i) * inverse);
    int32_t total = 0;
    for (size_t i = 0; i < dim; ++i) total += codes[i];
    offset = -byte_zero * total;
}

// Queries whose quads are interleaved.
template <size_t rows>
void round_queries(const float* q, size_t dim, const Rounded& out) {
    for (size_t row = 0; row < rows; ++row, q += dim) {
        int8_t codes[most_dim];
        round_query(q, dim, codes, out.offsets[row], out.scales[row]);
        for (size_t i = 0; i < dim; i += quad)
            memcpy(out.quads + i / quad * rows + row, codes + i, quad);
    }
}

// Scores to be multiplied with the scales of the queries.
template <size_t rows>
QWEN3_VL_APART void score_int8(const uint8_t* keys, size_t dim, const Rounded& q, Scores* scores,
                               size_t place) {
    const float* key_scales = reinterpret_cast<const float*>(keys + page_tokens * dim);
    for (size_t first = 0; first < page_panels; first += tile_panels) {
        WideSums sums[rows][tile_panels];
        for (size_t row = 0; row < rows; ++row) {
            for (WideSums& one : sums[row]) one = start_wide(q.offsets[row]);
        }
        const uint8_t* line = keys + first * panel_rows * dim;
        const int32_t* quads = q.quads;
        for (size_t at = 0; at < dim / quad; ++at, line += line_bytes, quads += rows) {
            Quads codes[tile_panels];
            for (size_t panel = 0; panel < tile_panels; ++panel) {
                codes[panel] = load_quads(line + panel * panel_rows * dim);
            }
            for (size_t row = 0; row < rows; ++row) {
                for (size_t panel = 0; panel < tile_panels; ++panel) {
                    add_wide(sums[row][panel], codes[panel], quads[row]);
                }
            }
        }
        for (size_t row = 0; row < rows; ++row) {
            for (size_t panel = 0; panel < tile_panels; ++panel) {
                const Rows products = to_rows(sums[row][panel]);
                for (size_t part = 0; part < Rows::parts; ++part) {
                    const size_t token = (first + panel) * panel_rows + part * Vec::lanes;
                    store(scores[row] + place + token,
                          products.part[part] * load(key_scales + token));
                }
            }
        }
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
