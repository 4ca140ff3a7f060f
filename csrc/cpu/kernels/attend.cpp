// Attention of a few queries that share a key head, over the pages of their sequence: as fast as
// the pages come from memory. Values are added up in float32.
#include "../kernels.h"
#include "../simd/ahead.h"
#include "scores.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// Products of queries with the keys of a page in bfloat16: each line holds two dimensions of 16.
template <size_t rows>
void score_bf16(const uint8_t* keys, size_t dim, const float* q, Scores* scores, size_t place) {
    for (size_t panel = 0; panel < page_panels; ++panel) {
        for (size_t part = 0; part < Rows::parts; ++part) {
            Vec sums[rows];
            for (Vec& one : sums) one = broadcast(0);
            const uint8_t* line = keys + panel * panel_rows * dim * sizeof(BFloat16) +
                                  part * Vec::lanes * 2 * sizeof(BFloat16);
            for (size_t at = 0; at < dim; at += 2, line += line_bytes) {
                Vec even, odd;
                load_pairs(line, even, odd);
                for (size_t row = 0; row < rows; ++row) {
                    sums[row] = multiply_add(even, broadcast(q[row * dim + at]), sums[row]);
                    sums[row] = multiply_add(odd, broadcast(q[row * dim + at + 1]), sums[row]);
                }
            }
            for (size_t row = 0; row < rows; ++row) {
                const size_t token = panel * panel_rows + part * Vec::lanes;
                store(scores[row] + place + token, sums[row]);
            }
        }
    }
}

// So many vectors side by side: a sum alone would wait for itself.
template <size_t rows, size_t columns, typename T>
void add_columns(const T* values, size_t dim, size_t tokens, const Scores* weights, size_t place,
                 float* out) {
    Vec sums[rows][columns];
    for (size_t row = 0; row < rows; ++row) {
        for (size_t i = 0; i < columns; ++i) sums[row][i] = load(out + row * dim + i * Vec::lanes);
    }
    for (size_t token = 0; token < tokens; ++token, values += dim) {
        Vec value[columns];
        for (size_t i = 0; i < columns; ++i) value[i] = load(values + i * Vec::lanes);
        for (size_t row = 0; row < rows; ++row) {
            const Vec weight = broadcast(weights[row][place + token]);
            for (size_t i = 0; i < columns; ++i) {
                sums[row][i] = multiply_add(value[i], weight, sums[row][i]);
            }
        }
    }
    for (size_t row = 0; row < rows; ++row) {
        for (size_t i = 0; i < columns; ++i) store(out + row * dim + i * Vec::lanes, sums[row][i]);
    }
}

template <size_t rows, typename T>
void add_values(const T* values, size_t dim, size_t tokens, const Scores* weights, size_t place,
                float* out) {
    constexpr size_t columns = rows <= 2 ? 4 : rows <= 4 ? 2 : 1, width = columns * Vec::lanes;
    size_t at = 0;
    for (; at + width <= dim; at += width) {
        add_columns<rows, columns>(values + at, dim, tokens, weights, place, out + at);
    }
    for (; at < dim; at += Vec::lanes) {
        add_columns<rows, 1>(values + at, dim, tokens, weights, place, out + at);
    }
}

template <size_t rows>
void scale_weights(const float* scales, Scores* weights, size_t place) {
    for (size_t at = 0; at < page_tokens; at += Vec::lanes) {
        const Vec scale = load(scales + at);
        for (size_t row = 0; row < rows; ++row) {
            float* const to = weights[row] + place + at;
            store(to, load(to) * scale);
        }
    }
}

inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

template <size_t rows>
void attend_rows(const Attention& all, size_t head, const float* q, const size_t* seen, float* out,
                 float* log_sums) {
    const PageShape& shape = all.shape;
    const size_t dim = shape.dim;
    const bool is_int8 = shape.format == KeyFormat::int8;
    alignas(line_bytes) Scores scores[rows];
    Softmax softmax[rows];
    int32_t quads[most_dim / quad * rows], offsets[rows];
    float scales[rows];
    const Rounded rounded = {quads, offsets, scales};
    if (is_int8) round_queries<rows>(q, dim, rounded);
    size_t longest = 0;
    for (size_t row = 0; row < rows; ++row) longest = seen[row] > longest ? seen[row] : longest;
    memset(out, 0, rows * dim * sizeof(float));
    const auto keys_of = [&](size_t page) {
        const size_t number = static_cast<size_t>(all.table[page]);
        return all.pages + number * all.page_stride + head * shape.head_bytes();
    };
    const size_t last = (longest + page_tokens - 1) / page_tokens;
    const auto ask_for_keys = [&](size_t page) {
        const size_t end = smaller(page + some_pages, last);
        for (; page < end; ++page) ask_for(keys_of(page), shape.half_bytes());
    };
    ask_for_keys(0);
    for (size_t first = 0; first < longest; first += some_tokens) {
        const uint8_t* keys[some_pages];
        const size_t here = smaller(longest - first, some_tokens);
        const size_t pages = (here + page_tokens - 1) / page_tokens;
        for (size_t page = 0; page < pages; ++page) {
            keys[page] = keys_of(first / page_tokens + page);
            ask_for(keys[page] + shape.half_bytes(), shape.half_bytes());
            if (is_int8) {
                score_int8<rows>(keys[page], dim, rounded, scores, page * page_tokens);
            } else {
                score_bf16<rows>(keys[page], dim, q, scores, page * page_tokens);
            }
        }
        for (size_t row = 0; row < rows; ++row) {
            const size_t sees = seen[row] > first ? smaller(seen[row] - first, here) : 0;
            const auto keep = [to = scores[row]](size_t at, Vec weights) {
                store(to + at, weights);
            };
            const float factor = Softmax::bits * (is_int8 ? scales[row] : 1);
            const size_t count = pages * page_tokens;
            const float shrink = softmax[row].meet(scores[row], sees, count, factor);
            softmax[row].weigh(scores[row], count, factor, keep);
            if (shrink == 1) continue;
            for (size_t at = row * dim; at < (row + 1) * dim; at += Vec::lanes) {
                store(out + at, load(out + at) * broadcast(shrink));
            }
        }
        ask_for_keys(first / page_tokens + some_pages);
        for (size_t page = 0; page < pages; ++page) {
            const size_t place = page * page_tokens, tokens = smaller(here - place, page_tokens);
            const uint8_t* values = keys[page] + shape.half_bytes();
            if (is_int8) {
                const auto* codes = reinterpret_cast<const int8_t*>(values);
                const auto* value_scales =
                    reinterpret_cast<const float*>(values + page_tokens * dim);
                scale_weights<rows>(value_scales, scores, place);
                add_values<rows>(codes, dim, tokens, scores, place, out);
            } else {
                const auto* numbers = reinterpret_cast<const BFloat16*>(values);
                add_values<rows>(numbers, dim, tokens, scores, place, out);
            }
        }
    }
    for (size_t row = 0; row < rows; ++row, out += dim) {
        const Vec share = broadcast(1 / softmax[row].total);
        for (size_t at = 0; at < dim; at += Vec::lanes) store(out + at, load(out + at) * share);
        if (log_sums) log_sums[row] = softmax[row].log_sum();
    }
}

}  // namespace

// `q` [rows, dim] is scaled already; row i sees the first seen[i] tokens. `log_sums` may be null.
void attend(const Attention& all, size_t head, const float* q, size_t rows, const size_t* seen,
            float* out, float* log_sums) {
    using Some = void(const Attention&, size_t, const float*, const size_t*, float*, float*);
    static constexpr Some* some[] = {attend_rows<1>, attend_rows<2>, attend_rows<3>,
                                     attend_rows<4>, attend_rows<5>, attend_rows<6>,
                                     attend_rows<7>, attend_rows<8>};
    some[rows - 1](all, head, q, seen, out, log_sums);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
