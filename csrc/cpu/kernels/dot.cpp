// The product of a row with a token, in float32.
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

template <typename T>
float product(const T* row, const float* x, size_t count) {
    // Independent sums, so that one multiply-add need not wait for the one before it.
    constexpr size_t chains = 4, step = chains * Vec::lanes;
    Vec sums[chains] = {broadcast(0), broadcast(0), broadcast(0), broadcast(0)};
    size_t i = 0;
    for (; i + step <= count; i += step) {
        for (size_t chain = 0; chain < chains; ++chain) {
            const size_t at = i + chain * Vec::lanes;
            sums[chain] = multiply_add(load(row + at), load(x + at), sums[chain]);
        }
    }
    for (; i + Vec::lanes <= count; i += Vec::lanes) {
        sums[0] = multiply_add(load(row + i), load(x + i), sums[0]);
    }
    if (i < count) {
        const size_t rest = count - i;
        sums[1] = multiply_add(load_first(row + i, rest), load_first(x + i, rest), sums[1]);
    }
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

}  // namespace

float dot(const float* row, const float* x, size_t count) { return product(row, x, count); }
float dot(const BFloat16* row, const float* x, size_t count) { return product(row, x, count); }

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
