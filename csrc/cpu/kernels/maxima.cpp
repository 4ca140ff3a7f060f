// The largest number of each block of a row, NaN if there is one.
#include "../kernels.h"
#include "../simd/simd.h"

#include <math.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

float most_of(const float* x, size_t count) {
    float most = x[0];
    for (size_t i = 1; i < count && !isnan(most); ++i) {
        if (isnan(x[i]) || x[i] > most) most = x[i];
    }
    return most;
}

}  // namespace

void maxima(const float* x, size_t block, size_t blocks, float* most) {
    for (size_t number = 0; number < blocks; ++number, x += block) {
        Vec largest = load(x), odd = largest - largest;
        for (size_t i = Vec::lanes; i < block; i += Vec::lanes) {
            const Vec v = load(x + i);
            largest = maximum(largest, v);
            odd = odd + (v - v);
        }
        // Of NaN a processor's maximum may be either; the sum tells of it, and of infinities.
        most[number] = sum(odd) == 0 ? largest_of(largest) : most_of(x, block);
    }
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
