// LayerNorm, row by row: out = weight · (x − mean) / sqrt(variance + eps) + bias.
#include "../kernels.h"
#include "../simd/simd.h"

#include <math.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

float mean_of(const float* x, size_t width) {
    Vec sums = broadcast(0);
    size_t i = 0;
    for (; i + Vec::lanes <= width; i += Vec::lanes) sums = sums + load(x + i);
    if (i < width) sums = sums + load_first(x + i, width - i);
    return sum(sums) / static_cast<float>(width);
}

// Of the distances from the mean: squares of the values themselves would cancel.
float variance_of(const float* x, size_t width, float mean) {
    Vec sums = broadcast(0);
    size_t i = 0;
    for (; i + Vec::lanes <= width; i += Vec::lanes) {
        const Vec apart = load(x + i) - broadcast(mean);
        sums = multiply_add(apart, apart, sums);
    }
    float rest = 0;
    for (; i < width; ++i) rest += (x[i] - mean) * (x[i] - mean);
    return (sum(sums) + rest) / static_cast<float>(width);
}

}  // namespace

void layer_norm(const float* x, const float* weight, const float* bias, float* out, size_t width,
                float eps) {
    const float mean = mean_of(x, width);
    const float scale = 1 / sqrtf(variance_of(x, width, mean) + eps);
    size_t i = 0;
    for (; i + Vec::lanes <= width; i += Vec::lanes) {
        const Vec normal = (load(x + i) - broadcast(mean)) * broadcast(scale);
        store(out + i, multiply_add(normal, load(weight + i), load(bias + i)));
    }
    for (; i < width; ++i) out[i] = (x[i] - mean) * scale * weight[i] + bias[i];
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
