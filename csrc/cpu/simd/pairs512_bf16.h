// Products of bfloat16 with AVX512-BF16: two a lane and instruction, added up in float32.
#pragma once

#include "float_pairs.h"

#include <immintrin.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

struct Pair {
    BFloat16 of[pair];
};

inline void to_pairs(const float* group, Pair* pairs) {
    for (size_t i = 0; i < group_inputs; i += Vec::lanes) {
        store(pairs[i / pair].of, load(group + i));
    }
}

// Subnormal numbers count as zero here.
template <size_t tokens, size_t panels>
inline void add_line(Rows (&sums)[tokens][panels], const uint8_t* const (&lines)[panels],
                     const Pair* x) {
    __m512i weights[panels];
    for (size_t panel = 0; panel < panels; ++panel) {
        weights[panel] = _mm512_load_si512(lines[panel]);
    }
    for (size_t token = 0; token < tokens; ++token) {
        int32_t both;
        memcpy(&both, x[token].of, sizeof both);
        const __m512i value = _mm512_set1_epi32(both);
        for (size_t panel = 0; panel < panels; ++panel) {
            __m512& one = sums[token][panel].part[0].value;
            one = _mm512_dpbf16_ps(one, reinterpret_cast<const __m512bh&>(weights[panel]),
                                   reinterpret_cast<const __m512bh&>(value));
        }
    }
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
