// One float: plain C++ for any machine, and the form in which an algorithm is easiest to follow.
#pragma once

#include "../bfloat16.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

struct Vec {
    static constexpr size_t lanes = 1;
    float value;
};

inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline Vec broadcast(float value) { return {value}; }
inline float sum(Vec v) { return v.value; }
inline Vec operator+(Vec a, Vec b) { return {a.value + b.value}; }
inline Vec operator-(Vec a, Vec b) { return {a.value - b.value}; }
inline Vec operator*(Vec a, Vec b) { return {a.value * b.value}; }
inline Vec operator/(Vec a, Vec b) { return {a.value / b.value}; }
inline Vec maximum(Vec a, Vec b) { return {a.value > b.value ? a.value : b.value}; }
inline Vec minimum(Vec a, Vec b) { return {a.value < b.value ? a.value : b.value}; }
inline Vec absolute(Vec a) { return {fabsf(a.value)}; }
inline Vec nearest(Vec a) { return {rintf(a.value)}; }
inline Vec times_power_of_two(Vec v, Vec exponent) {
    const auto biased = static_cast<uint32_t>(static_cast<int32_t>(exponent.value) + 127);
    return {v.value * float_of(biased << 23)};
}
inline Vec multiply_add(Vec a, Vec b, Vec c) { return {a.value * b.value + c.value}; }

inline Vec round_to_bfloat16(Vec v) {
    if (v.value != v.value)
        return {float_of(0x7fc00000)};  // the addition below could turn NaN to 0
    const uint32_t bits = bits_of(v.value);
    const uint32_t is_odd = bits >> 16 & 1;
    return {float_of((bits + 0x7fff + is_odd) & 0xffff0000)};
}

inline Vec load(const float* from) { return {*from}; }
inline Vec load(const BFloat16* from) { return {float_of(uint32_t{from->bits} << 16)}; }
inline Vec load(const int8_t* from) { return {static_cast<float>(*from)}; }

// Pairs of neighbours, the first of each and the second.
inline void load_pairs(const void* from, Vec& first, Vec& second) {
    BFloat16 pair[2];
    memcpy(pair, from, sizeof pair);
    first = load(pair);
    second = load(pair + 1);
}

inline float largest_of(Vec v) { return v.value; }

inline void store(float* to, Vec v) { *to = v.value; }
// As the nearest integer; it fits.
inline void store(int8_t* to, Vec v) { *to = static_cast<int8_t>(lrintf(v.value)); }
inline void store(int16_t* to, Vec v) { *to = static_cast<int16_t>(lrintf(v.value)); }
inline void store(BFloat16* to, Vec v) {
    to->bits = static_cast<uint16_t>(bits_of(round_to_bfloat16(v).value) >> 16);
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
