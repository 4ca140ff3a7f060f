// Products of small integers that any 64-bit ARM has: pairs of them fit 16 bits, 2 · 127 · 127.
#pragma once

#include "codes_neon.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

inline void add_wide(WideSums& sums, const Quads& codes, int32_t quad) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(quad));
    for (size_t i = 0; i < Quads::parts; ++i) {
        const int16x8_t lower = vmull_s8(vget_low_s8(codes.part[i]), vget_low_s8(x));
        const int16x8_t upper = vmull_high_s8(codes.part[i], x);
        sums.part[i] = vpadalq_s16(sums.part[i], vpaddq_s16(lower, upper));
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT

#include "sums32.h"
