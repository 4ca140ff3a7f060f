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
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.value, b.value)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.value, b.value)}; }
inline Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.value, b.value)}; }
inline Vec maximum(Vec a, Vec b) { return {vmaxq_f32(a.value, b.value)}; }
inline Vec minimum(Vec a, Vec b) { return {vminq_f32(a.value, b.value)}; }
inline Vec absolute(Vec a) { return {vabsq_f32(a.value)}; }
inline Vec nearest(Vec a) { return {vrndnq_f32(a.value)}; }
inline Vec times_power_of_two(Vec v, Vec exponent) {
    const int32x4_t biased = vaddq_s32(vcvtnq_s32_f32(exponent.value), vdupq_n_s32(127));
    return {vmulq_f32(v.value, vreinterpretq_f32_s32(vshlq_n_s32(biased, 23)))};
}
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

inline Vec load(const int8_t* from) {
    int32_t four;
    memcpy(&four, from, sizeof four);
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)))};
}

// Pairs of neighbours, the first of each and the second.
inline void load_pairs(const void* from, Vec& first, Vec& second) {
    const uint32x4_t pairs = vld1q_u32(static_cast<const uint32_t*>(from));
    first = {vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16))};
    second = {vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000)))};
}

inline float largest_of(Vec v) { return vmaxvq_f32(v.value); }

inline void store(float* to, Vec v) { vst1q_f32(to, v.value); }

// As the nearest integers; they fit.
inline void store(int8_t* to, Vec v) {
    const int16x4_t halves = vmovn_s32(vcvtnq_s32_f32(v.value));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(halves, halves));
    const int32_t four = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    memcpy(to, &four, sizeof four);
}

inline void store(int16_t* to, Vec v) { vst1_s16(to, vmovn_s32(vcvtnq_s32_f32(v.value))); }

inline void store(BFloat16* to, Vec v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(round_to_bfloat16(v).value);
    vst1_u16(reinterpret_cast<uint16_t*>(to), vshrn_n_u32(bits, 16));
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
