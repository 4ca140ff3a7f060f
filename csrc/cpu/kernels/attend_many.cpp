// Attention of many queries that share a key head, over pages in 8 bits: as fast as integer
// products go. Weights are rounded to 16 bits, relative to the largest so far, and meet values in
// 16 bits.
//
// All queries meet the keys of some pages, then their values: so these stay in the nearest cache.
#include "many_queries.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr float top_weight = 32767;
static_assert(some_tokens * int64_t{32767} * 127 < INT32_MAX, "sums of products have 32 bits");

constexpr size_t tile_columns = tile_panels * panel_rows;

// Values of some tokens in pairs of tokens: all of the columns that a tile takes, then the next.
struct Values {
    alignas(line_bytes) int16_t pairs[some_tokens * most_dim];
    float factors[some_tokens];  // what makes codes of weights: 0 for tokens that are not there
    float unit;                  // what a code of one times a value of one is worth

    const int16_t* columns(size_t at) const { return pairs + some_tokens * at; }

    void lay_out(const uint8_t* const* pages, size_t tokens, const PageShape& shape) {
        const size_t dim = shape.dim;
        float largest = 0;
        for (size_t token = 0; token < some_tokens; ++token) {
            factors[token] = 0;
            if (token >= tokens) continue;
            const uint8_t* half = pages[token / page_tokens] + shape.half_bytes();
            const auto* scales = reinterpret_cast<const float*>(half + page_tokens * dim);
            factors[token] = scales[token % page_tokens];
            largest = factors[token] > largest ? factors[token] : largest;
        }
        unit = largest / top_weight;
        const float inverse = largest > 0 ? top_weight / largest : 0;
        for (float& one : factors) one *= inverse;
        for (size_t token = 0; token < tokens; token += 2) {
            const uint8_t* half = pages[token / page_tokens] + shape.half_bytes();
            const auto* row = reinterpret_cast<const int8_t*>(half) + token % page_tokens * dim;
            for (size_t at = 0; at < dim; at += tile_columns) {
                int16_t* line = pairs + some_tokens * at + token * tile_columns;
                for (size_t i = at; i < at + tile_columns; i += panel_rows) {
                    pair_up(row + i, row + dim + i, line);
                    line += 2 * panel_rows;
                }
            }
        }
    }
};

// As many queries as the registers hold, and where they are on their way through the pages.
struct Tile : Way<tile_tokens> {
    int32_t quads[most_dim / quad * tile_tokens], offsets[tile_tokens];
    float scales[tile_tokens];
    int16_t codes[tile_tokens][some_tokens];  // weights of the tokens that they meet now
    float shrinks[tile_tokens];

    void take(const float* q, size_t, size_t dim) {
        round_queries<tile_tokens>(q, dim, {quads, offsets, scales});
    }

    void weigh(const uint8_t* const* pages, size_t first, size_t dim, const Values& values) {
        alignas(line_bytes) Scores scores[tile_tokens];
        const size_t tokens = sees(first);
        const size_t whole = (tokens + page_tokens - 1) / page_tokens * page_tokens;
        for (size_t place = 0; place < whole; place += page_tokens) {
            score_int8<tile_tokens>(pages[place / page_tokens], dim, {quads, offsets, scales},
                                    scores, place);
        }
        // One after the other for all rows: what a row waits for, others fill.
        float highest[tile_tokens];
        for (size_t row = 0; row < tile_tokens; ++row) {
            const size_t rest = seen[row] > first ? seen[row] - first : 0;
            highest[row] = Softmax::highest(scores[row], rest < tokens ? rest : tokens, whole,
                                            Softmax::bits * scales[row]);
        }
        for (size_t row = 0; row < tile_tokens; ++row) {
            shrinks[row] = softmax[row].rise(highest[row]);
        }
        for (size_t row = 0; row < tile_tokens; ++row) {
            const auto keep = [&values, to = codes[row]](size_t at, Vec weights) {
                store(to + at, weights * load(values.factors + at));
            };
            softmax[row].weigh(scores[row], whole, Softmax::bits * scales[row], keep);
        }
    }

    // Adds what the values of some columns are worth.
    QWEN3_VL_APART void add(const Values& values, size_t tokens, size_t at, size_t dim,
                            float* out) const {
        WideSums sums[tile_tokens][tile_panels];
        for (auto& row : sums) {
            for (WideSums& one : row) one = start_wide(0);
        }
        const int16_t* line = values.columns(at);
        for (size_t token = 0; token < tokens; token += 2, line += 2 * tile_columns) {
            Quads pairs[tile_panels];
            for (size_t panel = 0; panel < tile_panels; ++panel) {
                pairs[panel] = load_numbers(line + 2 * panel * panel_rows);
            }
            for (size_t row = 0; row < tile_tokens; ++row) {
                int32_t both;
                memcpy(&both, codes[row] + token, sizeof both);
                for (size_t panel = 0; panel < tile_panels; ++panel) {
                    add_pairs(sums[row][panel], pairs[panel], both);
                }
            }
        }
        const Vec unit = broadcast(values.unit);
        for (size_t row = 0; row < tile_tokens; ++row) {
            const Vec shrink = broadcast(shrinks[row]);
            for (size_t panel = 0; panel < tile_panels; ++panel) {
                const Rows products = to_rows(sums[row][panel]);
                for (size_t part = 0; part < Rows::parts; ++part) {
                    const size_t column = at + panel * panel_rows + part * Vec::lanes;
                    float* const to = out + row * dim + column;
                    store(to, multiply_add(products.part[part], unit, load(to) * shrink));
                }
            }
        }
    }
};

}  // namespace

// As `attend`, for some tiles of rows.
void attend_many(const Attention& all, size_t head, const float* q, size_t rows, const size_t* seen,
                 float* out, float* log_sums) {
    const size_t dim = all.shape.dim;
    Values values;
    const auto meet = [&](Tile* tiles, size_t count, const uint8_t* const* pages, size_t first,
                          size_t tokens) {
        values.lay_out(pages, tokens, all.shape);
        for (size_t i = 0; i < count; ++i) {
            if (tiles[i].sees(first)) tiles[i].weigh(pages, first, dim, values);
        }
        for (size_t at = 0; at < dim; at += tile_columns) {
            for (size_t i = 0; i < count; ++i) {
                const size_t sees = tiles[i].sees(first);
                if (sees) tiles[i].add(values, sees, at, dim, out + i * tile_tokens * dim);
            }
        }
    };
    go_through<Tile>(all, head, q, rows, seen, out, log_sums, meet);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
