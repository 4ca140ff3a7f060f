// What the machine can do at most: products and reads with nothing else to wait for.
//
// Kernels are told as a share of these; a neighbour on the same machine slows both alike.
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

// Multiplies and adds floats.
size_t float_rounds(size_t rounds, float* left) {
    constexpr size_t count = 12;
    Vec sums[count];
    for (size_t i = 0; i < count; ++i) sums[i] = broadcast(static_cast<float>(i));
    const Vec factor = broadcast(0.999f), add = broadcast(0.5f);
    for (size_t round = 0; round < rounds; ++round) {
        for (Vec& one : sums) one = multiply_add(one, factor, add);
    }
    for (const Vec one : sums) *left += sum(one);
    return rounds * count * Vec::lanes;
}

// Reads memory from end to end.
void read_through(const float* from, size_t count, float* left) {
    constexpr size_t streams = 8, step = streams * Vec::lanes, ahead = 2048;
    Vec sums[streams];
    for (Vec& one : sums) one = broadcast(0);
    for (size_t i = 0; i + step <= count; i += step) {
        for (size_t stream = 0; stream < streams; ++stream) {
            const float* at = from + i + stream * Vec::lanes;
#if defined(__GNUC__)
            __builtin_prefetch(at + ahead, 0, 3);
#endif
            sums[stream] = sums[stream] + load(at);
        }
    }
    for (const Vec one : sums) *left += sum(one);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
