// What the machine can do at most: products and reads with nothing else to wait for.
//
// Kernels are told as a share of these; a neighbour on the same machine slows both alike.
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {

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
