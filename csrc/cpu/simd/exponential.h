// e to the power of each lane, and the functions that are made of it.
#pragma once

#include "simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// Within two units in the last place between −87 and 88, beyond which the ends are given.
inline Vec exponential(Vec x) {
    x = minimum(maximum(x, broadcast(-87.0f)), broadcast(88.0f));
    const Vec halvings = nearest(x * broadcast(1.44269504f));
    // ln 2 in two parts, so that the rest is exact.
    Vec rest = multiply_add(halvings, broadcast(-0.693359375f), x);
    rest = multiply_add(halvings, broadcast(2.12194440e-4f), rest);
    // 1 + r + r²·(1/2 + r/6 + …): minimax on |r| ≤ ln 2 / 2.
    constexpr float factors[] = {1.98756915e-4f, 1.39819995e-3f, 8.33345205e-3f,
                                 4.16657962e-2f, 1.66666657e-1f, 0.5f};
    Vec sum = broadcast(0);
    for (const float factor : factors) sum = multiply_add(sum, rest, broadcast(factor));
    sum = multiply_add(sum, rest * rest, rest + broadcast(1));
    return times_power_of_two(sum, halvings);
}

// 2 to the power of each lane, which is at most 127, within two parts in ten million; of less than
// −127, zero.
inline Vec exponential2(Vec x) {
    x = maximum(x, broadcast(-127));
    const Vec whole = nearest(x), rest = x - whole;
    // Minimax on |r| ≤ 1/2.
    constexpr float factors[] = {9.67554e-3f, 5.550713e-2f, 2.402212e-1f, 6.9314697e-1f, 1.0f};
    Vec sum = broadcast(1.32765e-3f);
    for (const float factor : factors) sum = multiply_add(sum, rest, broadcast(factor));
    return times_power_of_two(sum, whole);
}

// x / (1 + e^−x)
inline Vec silu(Vec x) { return x / (broadcast(1) + exponential(broadcast(0) - x)); }

// x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))
inline Vec gelu_tanh(Vec x) {
    const Vec inner =
        x * multiply_add(x * x, broadcast(0.0713548162726f), broadcast(1.59576912161f));
    return x / (broadcast(1) + exponential(broadcast(0) - inner));
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
