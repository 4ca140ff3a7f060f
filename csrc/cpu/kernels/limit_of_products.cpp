// How many products of small integers the machine can do at most: with nothing to wait for.
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// A tile of independent sums, more than a product takes cycles, and no more than there are
// registers.
constexpr size_t panels = 2, tokens = Rows::parts == 1 ? 6 : 2;
constexpr size_t chains = panels * tokens;

}  // namespace

// Multiplies and adds small integers; gives the number of products, and something of the sums.
size_t product_rounds(size_t rounds, float* left) {
    constexpr size_t turns = 8;  // so that no product is that of the round before
    alignas(line_bytes) uint8_t lines[panels * line_bytes];
    int32_t x[turns + tokens];
    for (size_t i = 0; i < sizeof(lines); ++i) lines[i] = static_cast<uint8_t>(i % 15);
    for (size_t i = 0; i < turns + tokens; ++i) x[i] = static_cast<int32_t>(0x01020301 + i);
    Quads codes[panels];
    for (size_t i = 0; i < panels; ++i) codes[i] = load_quads(lines + i * line_bytes);
    WideSums sums[tokens][panels];
    for (auto& token : sums) {
        for (WideSums& one : token) one = start_wide(0);
    }
    for (size_t round = 0; round < rounds; ++round) {
        const int32_t* now = x + round % turns;
        for (size_t token = 0; token < tokens; ++token) {
            for (size_t i = 0; i < panels; ++i) add_wide(sums[token][i], codes[i], now[token]);
        }
    }
    for (const auto& token : sums) {
        for (const WideSums& one : token) {
            const Rows rows = to_rows(one);
            for (const Vec part : rows.part) *left += sum(part);
        }
    }
    return rounds * chains * quad * panel_rows;
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
