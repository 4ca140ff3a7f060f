// RMSNorm, row by row: out = weight · x / sqrt(mean(x²) + eps).
//
// Sums are float32. In bfloat16 the normalised value is rounded before it meets the weight, and
// the product is rounded again: the meaning in ops/rms_norm.py, step for step.
#include "../kernels.h"
#include "../simd/simd.h"

#include <math.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

template <typename T>
float sum_of_squares(const T* x, size_t width) {
    // Independent sums, so that one multiply-add need not wait for the one before it.
    constexpr size_t chains = 4;
    constexpr size_t step = chains * Vec::lanes;
    Vec sums[chains] = {broadcast(0), broadcast(0), broadcast(0), broadcast(0)};
    size_t i = 0;
    for (; i + step <= width; i += step) {
        for (size_t chain = 0; chain < chains; ++chain) {
            const Vec v = load(x + i + chain * Vec::lanes);
            sums[chain] = multiply_add(v, v, sums[chain]);
        }
    }
    for (; i + Vec::lanes <= width; i += Vec::lanes) {
        const Vec v = load(x + i);
        sums[0] = multiply_add(v, v, sums[0]);
    }
    if (i < width) {
        const Vec v = load_first(x + i, width - i);
        sums[1] = multiply_add(v, v, sums[1]);
    }
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <typename T>
void normalise(const T* x, const T* weight, T* out, size_t width, Vec scale) {
    size_t i = 0;
    for (; i + Vec::lanes <= width; i += Vec::lanes) {
        store(out + i, load(weight + i) * round_to<T>(load(x + i) * scale));
    }
    if (i < width) {
        const size_t rest = width - i;
        const Vec normal = round_to<T>(load_first(x + i, rest) * scale);
        store_first(out + i, load_first(weight + i, rest) * normal, rest);
    }
}

template <typename T>
void normalise_rows(const T* x, const T* weight, T* out, size_t rows, size_t width, float eps) {
    for (size_t row = 0; row < rows; ++row) {
        const size_t start = row * width;
        const float mean = sum_of_squares(x + start, width) / static_cast<float>(width);
        normalise(x + start, weight, out + start, width, broadcast(1 / sqrtf(mean + eps)));
    }
}

}  // namespace

void rms_norm(const float* x, const float* weight, float* out, size_t rows, size_t width,
              float eps) {
    normalise_rows(x, weight, out, rows, width, eps);
}

void rms_norm(const BFloat16* x, const BFloat16* weight, BFloat16* out, size_t rows, size_t width,
              float eps) {
    normalise_rows(x, weight, out, rows, width, eps);
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
