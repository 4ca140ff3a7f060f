// Queries that share a key head, in tiles, on their way through the pages of their sequence.
#pragma once

#include "../kernels.h"
#include "scores.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// How far the queries of a tile see, and how far they have come.
template <size_t queries>
struct Way {
    static constexpr size_t side = queries;

    Softmax softmax[side];
    size_t seen[side], longest = 0;

    void set_out(size_t rows, const size_t* sees) {
        for (size_t row = 0; row < side; ++row) {
            seen[row] = row < rows ? sees[row] : 0;
            longest = seen[row] > longest ? seen[row] : longest;
        }
    }

    // How many of the tokens from `first` on some query sees.
    size_t sees(size_t first) const {
        const size_t rest = longest > first ? longest - first : 0;
        return rest < some_tokens ? rest : some_tokens;
    }
};

// As `attend`: takes tiles of rows through the pages. `meet(tiles, count, pages, first, tokens)`
// adds to `out` what the values of some tokens are worth to them.
template <typename Tile, typename Meet>
void go_through(const Attention& all, size_t head, const float* q, size_t rows, const size_t* seen,
                float* out, float* log_sums, const Meet& meet) {
    constexpr size_t side = Tile::side, most_rows = attend_tiles * tile_tokens;
    static_assert(most_rows % side == 0, "rows come in whole tiles");
    const size_t dim = all.shape.dim;
    Tile tiles[most_rows / side];
    const size_t count = (rows + side - 1) / side;
    size_t longest = 0;
    for (size_t i = 0; i < count; ++i) {
        const size_t first = i * side;
        tiles[i].set_out(rows - first, seen + first);
        tiles[i].take(q + first * dim, rows - first, dim);
        longest = tiles[i].longest > longest ? tiles[i].longest : longest;
    }
    memset(out, 0, count * side * dim * sizeof(float));
    for (size_t first = 0; first < longest; first += some_tokens) {
        const size_t tokens = longest - first < some_tokens ? longest - first : some_tokens;
        const uint8_t* pages[some_pages];
        for (size_t page = 0; page * page_tokens < tokens; ++page) {
            const auto number = static_cast<size_t>(all.table[first / page_tokens + page]);
            pages[page] = all.pages + number * all.page_stride + head * all.shape.head_bytes();
        }
        meet(tiles, count, pages, first, tokens);
    }
    for (size_t row = 0; row < rows; ++row, out += dim) {
        const Softmax& softmax = tiles[row / side].softmax[row % side];
        const Vec share = broadcast(1 / softmax.total);
        for (size_t at = 0; at < dim; at += Vec::lanes) store(out + at, load(out + at) * share);
        if (log_sums) log_sums[row] = softmax.log_sum();
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
