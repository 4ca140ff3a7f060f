// Single numbers to bfloat16 and back, outside of kernels: those round by the vector (simd/).
#pragma once

#include "bfloat16.h"

#include <bit>
#include <cmath>

namespace qwen3_vl {

inline float wide(BFloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

// To the nearest, and half way to the even one.
inline BFloat16 rounded(float x) {
    if (std::isnan(x)) return {0x7fc0};
    const auto bits = std::bit_cast<uint32_t>(x);
    return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

}  // namespace qwen3_vl
