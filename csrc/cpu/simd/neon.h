// Four floats in a NEON register; every 64-bit ARM has them.
#pragma once

#include "../bfloat16.h"

#include <arm_neon.h>
#include <stddef.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

struct Vec {
    static constexpr size_t lanes = 4;
    float32x4_t value;
};

inline Vec broadcast(float value) { return {vdupq_n_f32(value)}; }
inline float sum(Vec v) { return vaddvq_f32(v.value); }
inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.value, b.value)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.value, b.value)}; }
inline Vec multiply_add(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.value, a.value, b.value)}; }

inline Vec round_to_bfloat16(Vec v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v.value);
    const uint32x4_t is_odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t half = vaddq_u32(is_odd, vdupq_n_u32(0x7fff));
    const uint32x4_t rounded = vandq_u32(vaddq_u32(bits, half), vdupq_n_u32(0xffff0000));
    // The addition could carry a NaN over to zero.
    const uint32x4_t is_number = vceqq_f32(v.value, v.value);
    return {vreinterpretq_f32_u32(vbslq_u32(is_number, rounded, vdupq_n_u32(0x7fc00000)))};
}

inline Vec load(const float* from) { return {vld1q_f32(from)}; }

inline Vec load(const BFloat16* from) {
    const uint16x4_t halves = vld1_u16(reinterpret_cast<const uint16_t*>(from));
    return {vreinterpretq_f32_u32(vshll_n_u16(halves, 16))};
}

inline void store(float* to, Vec v) { vst1q_f32(to, v.value); }

inline void store(BFloat16* to, Vec v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(round_to_bfloat16(v).value);
    vst1_u16(reinterpret_cast<uint16_t*>(to), vshrn_n_u32(bits, 16));
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
