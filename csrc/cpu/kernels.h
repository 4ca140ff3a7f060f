// What every variant offers: one function per op and number format.
#pragma once

#include "bfloat16.h"

#include <stddef.h>

namespace qwen3_vl {

template <typename T>
using RmsNorm = void(const T* x, const T* weight, T* out, size_t rows, size_t width, float eps);

struct Kernels {
    RmsNorm<float>* rms_norm_f32;
    RmsNorm<BFloat16>* rms_norm_bf16;
};

}  // namespace qwen3_vl
