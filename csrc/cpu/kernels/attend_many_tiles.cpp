// As attend_many.cpp, in tiles: 16 queries meet 16 keys, and their weights 16 columns of the
// values. Codes of values are bfloat16 numbers; a weight is the sum of two.
#include "many_queries.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr size_t at_once = 4;                  // tiles of sums: the tiles 0 to 3
constexpr size_t values_tile = 2 * tile_side;  // tokens of a tile of values

// The upper halves of two registers, which are bfloat16 numbers, in pairs.
inline __m512i upper_halves(Vec first, Vec second) {
    const __m512i lower = _mm512_srli_epi32(_mm512_castps_si512(first.value), 16);
    const __m512i upper = _mm512_castps_si512(second.value);
    return _mm512_mask_mov_epi16(lower, 0xaaaaaaaa, upper);
}

// What the upper half of each number leaves.
inline Vec rest_of(Vec v) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000));
    const __m512i kept = _mm512_and_si512(_mm512_castps_si512(v.value), upper);
    return v - Vec{_mm512_castsi512_ps(kept)};
}

// Makes 32 numbers the sums of two bfloat16 numbers each: 32 of the one kind, then what they leave.
// Both kinds lie in pairs of a number of `first` and one of `second`.
inline void split(Vec first, Vec second, BFloat16* to) {
    _mm512_store_si512(to, upper_halves(first, second));
    _mm512_store_si512(to + values_tile, upper_halves(rest_of(first), rest_of(second)));
}

// Values of some tokens: 16 columns of all of them, then the next. A token and the sixteenth after
// it make a pair.
struct Values {
    alignas(line_bytes) BFloat16 pairs[some_tokens * most_dim];
    // Of keys and values; 0 for tokens that are not there.
    alignas(line_bytes) float key_scales[some_tokens], scales[some_tokens];

    const BFloat16* columns(size_t at, size_t token) const {
        return pairs + some_tokens * at + token * panel_rows;
    }

    void lay_out(const uint8_t* const* pages, size_t tokens, const PageShape& shape) {
        const size_t dim = shape.dim;
        for (size_t token = 0; token < tokens; token += page_tokens) {
            const uint8_t* keys = pages[token / page_tokens] + page_tokens * dim;
            memcpy(key_scales + token, keys, page_tokens * sizeof(float));
            memcpy(scales + token, keys + shape.half_bytes(), page_tokens * sizeof(float));
        }
        for (size_t token = tokens; token < some_tokens; ++token) {
            key_scales[token] = scales[token] = 0;
        }
        // To the end of the last page: what lies there is multiplied too, with nothing.
        const size_t whole = (tokens + page_tokens - 1) / page_tokens * page_tokens;
        static_assert(values_tile == page_tokens, "a page is a tile of values");
        for (size_t token = 0; token < whole; token += page_tokens) {
            const uint8_t* half = pages[token / page_tokens] + shape.half_bytes();
            const auto* row = reinterpret_cast<const int8_t*>(half);
            BFloat16* to = pairs + token * panel_rows;
            for (size_t i = 0; i < tile_side; ++i, row += dim, to += 2 * panel_rows) {
                for (size_t at = 0; at < dim; at += panel_rows) {
                    // Whole numbers below 256: their float32 has nothing where bfloat16 ends.
                    const Vec first = load(row + at), second = load(row + tile_side * dim + at);
                    _mm512_store_si512(to + some_tokens * at, upper_halves(first, second));
                }
            }
        }
    }
};

// What the queries of a tile and some tokens have to do with each other, in one place to stay near:
// sums of products, then scores, then weights. By then all that the queries met before shrinks.
struct Meeting {
    union {
        alignas(line_bytes) int32_t sums[tile_side][some_tokens];
        float scores[tile_side][some_tokens];
        BFloat16 weights[tile_side][some_tokens / values_tile][2][values_tile];
    };
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

    // Products with the keys of two pages, 64 numbers of each at once: what lies behind the last
    // meets zeros of the queries.
    void score(const uint8_t* first, const uint8_t* second, size_t dim, int32_t* sums) const {
        settle(codes);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (size_t at = 0; at < dim; at += line_bytes) {
            const size_t panel = at * panel_rows, next = panel + panel_rows * dim;
            _tile_loadd(4, codes[0] + at, most_dim);
            _tile_loadd(5, first + panel, line_bytes);
            _tile_loadd(6, first + next, line_bytes);
            _tile_dpbsud(0, 4, 5);
            _tile_dpbsud(1, 4, 6);
            _tile_loadd(5, second + panel, line_bytes);
            _tile_loadd(6, second + next, line_bytes);
            _tile_dpbsud(2, 4, 5);
            _tile_dpbsud(3, 4, 6);
        }
        constexpr size_t stride = some_tokens * sizeof(int32_t);
        _tile_stored(0, sums, stride);
        _tile_stored(1, sums + panel_rows, stride);
        _tile_stored(2, sums + 2 * panel_rows, stride);
        _tile_stored(3, sums + 3 * panel_rows, stride);
    }

    void weigh(const uint8_t* const* pages, size_t first, size_t dim, const Values& values,
               Meeting& now) {
        static_assert(some_pages % 2 == 0, "there is room for the sums of an even number of pages");
        const size_t count = (sees(first) + page_tokens - 1) / page_tokens;
        for (size_t page = 0; page < count; page += 2) {
            const size_t next = page + 1 < count ? page + 1 : page;
            score(pages[page], pages[next], dim, now.sums[0] + page * page_tokens);
        }
        // One after the other for all rows: what a row waits for, others fill.
        float highest[side];
        for (size_t row = 0; row < side; ++row) {
            const size_t rest = seen[row] > first ? seen[row] - first : 0;
            highest[row] = finish_scores(row, rest, values, now);
        }
        for (size_t row = 0; row < side; ++row) now.shrinks[row] = softmax[row].rise(highest[row]);
        for (size_t row = 0; row < side; ++row) weigh_row(row, values, now);
    }

    // `unseen` of those that the row does not see.
    float finish_scores(size_t row, size_t rest, const Values& values, Meeting& now) const {
        const Vec hidden = broadcast(unseen), scale = broadcast(Softmax::bits * scales[row]);
        const __m512i zero = _mm512_set1_epi32(offsets[row]);
        Vec most = hidden;
        for (size_t at = 0; at < some_tokens; at += Vec::lanes) {
            const __m512i sum = _mm512_add_epi32(_mm512_load_si512(now.sums[row] + at), zero);
            Vec scores = {_mm512_cvtepi32_ps(sum)};
            scores = scores * (load(values.key_scales + at) * scale);
            if (rest < some_tokens) {
                const size_t here = rest > at ? rest - at : 0;
                const auto seen =
                    static_cast<__mmask16>(here < Vec::lanes ? (1u << here) - 1 : ~0u);
                scores = {_mm512_mask_mov_ps(hidden.value, seen, scores.value)};
            }
            store(now.scores[row] + at, scores);
            most = maximum(most, scores);
        }
        return largest_of(most);
    }

    void weigh_row(size_t row, const Values& values, Meeting& now) {
        const Vec largest = broadcast(softmax[row].largest);
        Vec total = broadcast(0);
        for (size_t at = 0; at < some_tokens; at += values_tile) {
            const size_t next = at + Vec::lanes;
            const Vec first = exponential2(load(now.scores[row] + at) - largest);
            const Vec second = exponential2(load(now.scores[row] + next) - largest);
            total = total + first + second;
            split(first * load(values.scales + at), second * load(values.scales + next),
                  now.weights[row][at / values_tile][0]);
        }
        softmax[row].total += sum(total);
    }
};

// Adds what the values of some columns are worth.
void add(const Meeting& now, const Values& values, size_t tokens, size_t at, size_t dim,
         float* out) {
    alignas(line_bytes) float sums[at_once][tile_side][panel_rows];
    settle(now.weights);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const size_t panels = (dim - at) / panel_rows;  // an even number
    for (size_t token = 0; token < tokens; token += values_tile) {
        constexpr size_t stride = sizeof now.weights[0];
        // All sums go on before the first does again: it takes as long as four products until they
        // can.
        for (const auto& kind : now.weights[0][token / values_tile]) {
            _tile_loadd(4, kind, stride);
            _tile_loadd(5, values.columns(at, token), line_bytes);
            _tile_loadd(6, values.columns(at + panel_rows, token), line_bytes);
            _tile_dpbf16ps(0, 4, 5);
            _tile_dpbf16ps(1, 4, 6);
            if (panels > 2) {
                _tile_loadd(5, values.columns(at + 2 * panel_rows, token), line_bytes);
                _tile_loadd(7, values.columns(at + 3 * panel_rows, token), line_bytes);
                _tile_dpbf16ps(2, 4, 5);
                _tile_dpbf16ps(3, 4, 7);
            }
        }
    }
    _tile_stored(0, sums[0], line_bytes);
    _tile_stored(1, sums[1], line_bytes);
    _tile_stored(2, sums[2], line_bytes);
    _tile_stored(3, sums[3], line_bytes);
    for (size_t row = 0; row < tile_side; ++row) {
        const Vec shrink = broadcast(now.shrinks[row]);
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
    Meeting now;
    const auto meet = [&](Tile* tiles, size_t count, const uint8_t* const* pages, size_t first,
                          size_t tokens) {
        values.lay_out(pages, tokens, all.shape);
        for (size_t i = 0; i < count; ++i) {
            const size_t sees = tiles[i].sees(first);
            if (!sees) continue;
            tiles[i].weigh(pages, first, dim, values, now);
            for (size_t at = 0; at < dim; at += at_once * panel_rows) {
                add(now, values, sees, at, dim, out + i * tile_side * dim);
            }
        }
    };
    begin_tiles();
    go_through<Tile>(all, head, q, rows, seen, out, log_sums, meet);
    end_tiles();
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
