// As attend_many.cpp, in tiles: 16 queries meet 16 keys, and their weights 16 columns of the
// values. Codes of values are bfloat16 numbers; a weight is the sum of two.
#include "many_queries.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr size_t at_once = 4;                           // tiles of sums: the tiles 0 to 3
constexpr size_t pair_lines = 2;                        // tokens of a line of a tile of values
constexpr size_t values_tile = tile_side * pair_lines;  // tokens of such a tile

// Into two bfloat16 numbers, of which the lower is what the upper leaves.
inline void split(Vec numbers, BFloat16* upper, BFloat16* lower) {
    const auto keep = [](Vec wide, BFloat16* to) {
        const __m256bh narrow = _mm512_cvtneps_pbh(wide.value);
        _mm256_store_si256(reinterpret_cast<__m256i*>(to),
                           reinterpret_cast<const __m256i&>(narrow));
    };
    keep(numbers, upper);
    keep(numbers - load(upper), lower);
}

// Values of some tokens in pairs of tokens: 16 columns of all of them, then the next.
struct Values {
    alignas(line_bytes) BFloat16 pairs[some_tokens * most_dim];
    float scales[some_tokens];  // 0 for tokens that are not there

    const BFloat16* columns(size_t at, size_t token) const {
        return pairs + some_tokens * at + token * panel_rows;
    }

    void lay_out(const uint8_t* const* pages, size_t tokens, const PageShape& shape) {
        const size_t dim = shape.dim;
        for (size_t token = 0; token < some_tokens; ++token) {
            scales[token] = 0;
            if (token >= tokens) continue;
            const uint8_t* half = pages[token / page_tokens] + shape.half_bytes();
            scales[token] =
                reinterpret_cast<const float*>(half + page_tokens * dim)[token % page_tokens];
        }
        // To the end of the last page: what lies there is multiplied too, with nothing.
        const size_t whole = (tokens + page_tokens - 1) / page_tokens * page_tokens;
        for (size_t token = 0; token < whole; token += pair_lines) {
            const uint8_t* half = pages[token / page_tokens] + shape.half_bytes();
            const auto* row = reinterpret_cast<const int8_t*>(half) + token % page_tokens * dim;
            for (size_t at = 0; at < dim; at += panel_rows) {
                // Whole numbers below 256: their float32 has nothing where bfloat16 ends.
                const __m512i first = _mm512_castps_si512(load(row + at).value);
                const __m512i second = _mm512_castps_si512(load(row + dim + at).value);
                _mm512_store_si512(pairs + some_tokens * at + token * panel_rows,
                                   _mm512_or_si512(_mm512_srli_epi32(first, 16), second));
            }
        }
    }
};

// What the queries of a tile give to the tokens that they meet now, and by how much all that they
// met before shrinks.
struct Weights {
    alignas(line_bytes) BFloat16 of[tile_side][2][some_tokens];
    float shrinks[tile_side];
};

// Queries of a tile, and where they are on their way through the pages.
struct Tile : Way<tile_side> {
    alignas(line_bytes) int8_t codes[tile_side][most_dim];
    int32_t offsets[tile_side];
    float scales[tile_side];

    void take(const float* q, size_t rows, size_t dim) {
        memset(codes, 0, sizeof codes);
        for (size_t row = 0; row < side; ++row, q += dim) {
            scales[row] = 1;
            if (row < rows) round_query(q, dim, codes[row], offsets[row], scales[row]);
        }
    }

    // Products with the keys of a page, 64 numbers of each at once: what lies behind the last meets
    // zeros of the queries.
    void score(const uint8_t* keys, size_t dim, int32_t* sums) const {
        settle();
        _tile_zero(0);
        _tile_zero(1);
        for (size_t at = 0; at < dim; at += line_bytes) {
            const uint8_t* const from = keys + at * panel_rows;
            _tile_loadd(4, codes[0] + at, most_dim);
            _tile_loadd(5, from, line_bytes);
            _tile_loadd(6, from + panel_rows * dim, line_bytes);
            _tile_dpbsud(0, 4, 5);
            _tile_dpbsud(1, 4, 6);
        }
        constexpr size_t stride = some_tokens * sizeof(int32_t);
        _tile_stored(0, sums, stride);
        _tile_stored(1, sums + panel_rows, stride);
    }

    void weigh(const uint8_t* const* pages, size_t first, size_t dim, const Values& values,
               Weights& weights) {
        alignas(line_bytes) int32_t sums[tile_side][some_tokens];
        alignas(line_bytes) Scores scores;
        const size_t tokens = sees(first);
        const size_t whole = (tokens + page_tokens - 1) / page_tokens * page_tokens;
        for (size_t place = 0; place < whole; place += page_tokens) {
            score(pages[place / page_tokens], dim, sums[0] + place);
        }
        for (size_t row = 0; row < tile_side; ++row) {
            const size_t rest = seen[row] > first ? seen[row] - first : 0;
            if (rest > 0) {
                const __m512i zero = _mm512_set1_epi32(offsets[row]);
                for (size_t at = 0; at < whole; at += Vec::lanes) {
                    const uint8_t* page = pages[at / page_tokens];
                    const auto* key_scales =
                        reinterpret_cast<const float*>(page + page_tokens * dim);
                    const __m512i sum = _mm512_load_si512(sums[row] + at);
                    const Vec products = {_mm512_cvtepi32_ps(_mm512_add_epi32(sum, zero))};
                    store(scores + at, products * load(key_scales + at % page_tokens));
                }
            }
            const auto keep = [&values, to = weights.of[row]](size_t at, Vec some) {
                split(some * load(values.scales + at), to[0] + at, to[1] + at);
            };
            weights.shrinks[row] = softmax[row].weigh(scores, rest < tokens ? rest : tokens, whole,
                                                      Softmax::bits * scales[row], keep);
        }
    }
};

// Adds what the values of some columns are worth.
void add(const Weights& weights, const Values& values, size_t tokens, size_t at, size_t dim,
         float* out) {
    alignas(line_bytes) float sums[at_once][tile_side][panel_rows];
    settle();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const size_t panels = (dim - at) / panel_rows;  // an even number
    for (size_t token = 0; token < tokens; token += values_tile) {
        constexpr size_t stride = sizeof weights.of[0];
        _tile_loadd(4, weights.of[0][0] + token, stride);
        _tile_loadd(5, weights.of[0][1] + token, stride);
        _tile_loadd(6, values.columns(at, token), line_bytes);
        _tile_loadd(7, values.columns(at + panel_rows, token), line_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(0, 5, 6);
        _tile_dpbf16ps(1, 5, 7);
        if (panels > 2) {
            _tile_loadd(6, values.columns(at + 2 * panel_rows, token), line_bytes);
            _tile_loadd(7, values.columns(at + 3 * panel_rows, token), line_bytes);
            _tile_dpbf16ps(2, 4, 6);
            _tile_dpbf16ps(3, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums[0], line_bytes);
    _tile_stored(1, sums[1], line_bytes);
    _tile_stored(2, sums[2], line_bytes);
    _tile_stored(3, sums[3], line_bytes);
    for (size_t row = 0; row < tile_side; ++row) {
        const Vec shrink = broadcast(weights.shrinks[row]);
        for (size_t panel = 0; panel < at_once && panel < panels; ++panel) {
            float* const to = out + row * dim + at + panel * panel_rows;
            store(to, multiply_add(load(to), shrink, load(sums[panel][row])));
        }
    }
}

}  // namespace

// As `attend`, for some tiles of rows.
void attend_many(const Attention& all, size_t head, const float* q, size_t rows, const size_t* seen,
                 float* out, float* log_sums) {
    const size_t dim = all.shape.dim;
    Values values;
    Weights weights;
    const auto meet = [&](Tile* tiles, size_t count, const uint8_t* const* pages, size_t first,
                          size_t tokens) {
        values.lay_out(pages, tokens, all.shape);
        for (size_t i = 0; i < count; ++i) {
            const size_t sees = tiles[i].sees(first);
            if (!sees) continue;
            tiles[i].weigh(pages, first, dim, values, weights);
            for (size_t at = 0; at < dim; at += at_once * panel_rows) {
                add(weights, values, sees, at, dim, out + i * tile_side * dim);
            }
        }
    };
    begin_tiles();
    go_through<Tile>(all, head, q, rows, seen, out, log_sums, meet);
    end_tiles();
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
