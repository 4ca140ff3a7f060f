#include "attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <numeric>
#include <vector>

namespace qwen3_vl {
namespace {

// Queries of one sequence that share a key head.
struct Tile {
    Attend* kernel;
    const Stretch* stretch;
    size_t token, tokens;  // within the stretch
    size_t key_head;
    bool chooses;  // one token, which sees some pages
};

// The first page, the last, and those between them in which a query could find most, so many in
// all.
void choose(const Kernels& kernels, const Attention& all, size_t head, const float* q, size_t rows,
            size_t pages, std::vector<int32_t>& chosen) {
    const size_t between = pages - 2, kept = all.shape.sees - 2;
    std::vector<float> most(pages);
    kernels.reach(all, head, q, rows, pages, most.data());
    std::vector<size_t> order(between);
    std::iota(order.begin(), order.end(), size_t{1});
    const auto kept_end = order.begin() + static_cast<std::ptrdiff_t>(kept);
    std::nth_element(order.begin(), kept_end, order.end(),
                     [&](size_t a, size_t b) { return most[a] > most[b]; });
    std::sort(order.begin(), kept_end);
    chosen.assign(1, all.table[0]);
    for (auto page = order.begin(); page != kept_end; ++page) chosen.push_back(all.table[*page]);
    chosen.push_back(all.table[pages - 1]);
}

}  // namespace

void remember(const Kernels& kernels, Pool& pool, const Pass& pass, const Projected& some,
              float* q) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    const PageShape& shape = pass.shape;
    const size_t dim = shape.dim, heads = pass.heads, threads = static_cast<size_t>(pool.threads());
    const float scale = 1 / std::sqrt(static_cast<float>(dim));
    const auto keep = [&](size_t token, uint8_t* page, size_t place) {
        const float* row = some.qkv + (token - some.first) * (heads + 2 * shape.heads) * dim;
        const float* turns = some.turns + token * dim;
        for (size_t head = 0; head < heads; ++head, row += dim) {
            kernels.turn_head(row, some.q_norm, some.eps, turns, dim, scale,
                              q + (token * heads + head) * dim);
        }
        for (size_t head = 0; head < shape.heads; ++head, row += dim) {
            alignas(line_bytes) float key[most_dim];
            kernels.turn_head(row, some.k_norm, some.eps, turns, dim, 1, key);
            kernels.write_page(shape, key, row + shape.heads * dim, page, head, place);
        }
    };
    const size_t end = some.first + some.count;
    // Where a thread begins: with bounds, only one may write to a page.
    const auto start = [&](size_t thread) {
        const size_t token = some.first + some.count * thread / threads;
        if (!shape.sees || thread == 0 || thread == threads) return token;
        for (size_t i = 0; i < pass.count; ++i) {
            const Stretch& one = pass.stretches[i];
            if (token <= one.first || token >= one.first + one.count) continue;
            const size_t at = one.held + token - one.first;
            const size_t page_end = (at + page_tokens - 1) / page_tokens * page_tokens;
            return std::min({end, one.first + one.count, one.first + page_end - one.held});
        }
        return token;
    };
    const auto part = [&](size_t begin, size_t before) {
        for (size_t i = 0; i < pass.count; ++i) {
            const Stretch& one = pass.stretches[i];
            const size_t stop = std::min(before, one.first + one.count);
            for (size_t token = std::max(begin, one.first); token < stop; ++token) {
                const size_t at = one.held + token - one.first;
                const size_t number = static_cast<size_t>(one.table[at / page_tokens]);
                keep(token, one.pages + number * pass.page_stride, at % page_tokens);
            }
        }
    };
    if (some.count == 1) return part(some.first, end);
    pool.run([&](int thread) {
        const size_t at = static_cast<size_t>(thread);
        part(start(at), start(at + 1));
    });
}

void attend(const Kernels& kernels, Pool& pool, const Pass& pass, bool causal, const float* q,
            float* out, float* log_sums) {
    const std::lock_guard<std::mutex> turn(pool.turn());
    const PageShape& shape = pass.shape;
    const size_t heads = pass.heads, group = heads / shape.heads, dim = shape.dim;
    std::vector<Tile> tiles;
    size_t rows = group;
    for (size_t i = 0; i < pass.count; ++i) {
        const Stretch& one = pass.stretches[i];
        const bool many = one.count > few && shape.format == KeyFormat::int8;
        const bool chooses = one.count <= few && shape.sees;
        const size_t room = kernels.tile_tokens * (many ? attend_tiles : 1);
        const size_t together = chooses ? 1 : std::max<size_t>(1, room / group);
        rows = std::max(rows, room);
        // Head by head: the keys and values of one stay near while all queries meet them.
        for (size_t head = 0; head < shape.heads; ++head) {
            for (size_t token = 0; token < one.count; token += together) {
                const size_t tokens = std::min(together, one.count - token);
                tiles.push_back({many ? kernels.attend_many : kernels.attend, &one, token, tokens,
                                 head, chooses});
            }
        }
    }
    std::atomic<size_t> next{0};
    pool.run([&](int) {
        std::vector<float> queries(rows * dim), results(rows * dim), sums(rows);
        std::vector<size_t> seen(rows);
        std::vector<int32_t> chosen;
        // From the end: what sees most of a head comes first, so that no thread is left with it.
        for (size_t at; (at = next.fetch_add(1, std::memory_order_relaxed)) < tiles.size();) {
            const Tile& tile = tiles[tiles.size() - 1 - at];
            const Stretch& stretch = *tile.stretch;
            Attention all = {shape, stretch.pages, pass.page_stride, stretch.table};
            const size_t first = stretch.first + tile.token;
            const auto place = [&](size_t token) {
                return (first + token) * heads + tile.key_head * group;
            };
            for (size_t token = 0; token < tile.tokens; ++token) {
                std::copy_n(q + place(token) * dim, group * dim, &queries[token * group * dim]);
                const size_t new_ones = causal ? tile.token + token + 1 : stretch.count;
                std::fill_n(&seen[token * group], group, stretch.held + new_ones);
            }
            const size_t pages = (seen[0] + page_tokens - 1) / page_tokens;
            if (tile.chooses && pages > shape.sees) {
                choose(kernels, all, tile.key_head, queries.data(), group, pages, chosen);
                all.table = chosen.data();
                std::fill_n(seen.begin(), group, seen[0] - (pages - shape.sees) * page_tokens);
            }
            tile.kernel(all, tile.key_head, queries.data(), tile.tokens * group, seen.data(),
                        results.data(), log_sums ? sums.data() : nullptr);
            for (size_t token = 0; token < tile.tokens; ++token) {
                std::copy_n(&results[token * group * dim], group * dim, out + place(token) * dim);
                if (log_sums) std::copy_n(&sums[token * group], group, log_sums + place(token));
            }
        }
    });
}

}  // namespace qwen3_vl
