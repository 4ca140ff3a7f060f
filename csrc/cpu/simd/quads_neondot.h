// Products of small integers where ARM has its dot product: four a lane and instruction.
#pragma once

#include "codes_neon.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

inline void add_wide(WideSums& sums, const Quads& codes, int32_t quad) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(quad));
    for (size_t i = 0; i < Quads::parts; ++i) {
        sums.part[i] = vdotq_s32(sums.part[i], codes.part[i], x);
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT

#include "sums32.h"
