// The vector type `Vec` of the variant that is being compiled.
//
// Everything under kernels/ is compiled once per variant, with that variant's compiler flags and
// with QWEN3_VL_VARIANT set to its name. A function that two variants shared would be kept once by
// the linker, perhaps the AVX-512 copy, and a small machine would crash in code it never asked for.
// So all that is written here sits in the variant's own namespace and in an unnamed one inside it,
// and kernels include C headers only: nothing inline from the C++ library.
//
// A variant's header gives:
//
//     Vec, Vec::lanes              some float32 values, and how many
//     load, store                  from and to float or BFloat16 memory; no alignment is needed
//     broadcast, sum               one value to all lanes; all lanes to one value
//     +, *, multiply_add(a, b, c)  lane by lane; the last is a·b + c
//     round_to_bfloat16            to the nearest bfloat16, ties to even, still held as float32
#pragma once

#include <stddef.h>
#include <string.h>

// A loop that needs all registers is compiled apart from what calls it, whose values would take
// some of them.
#if defined(__GNUC__)
#define QWEN3_VL_APART __attribute__((noinline))
#else
#define QWEN3_VL_APART
#endif

#define QWEN3_VL_QUOTE(text) #text
#define QWEN3_VL_HEADER_OF(variant) QWEN3_VL_QUOTE(variant.h)
#include QWEN3_VL_HEADER_OF(QWEN3_VL_VARIANT)

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// The first `count` values of a vector's worth; the lanes behind them are zero.
template <typename T>
Vec load_first(const T* from, size_t count) {
    T padded[Vec::lanes] = {};
    memcpy(padded, from, count * sizeof(T));
    return load(padded);
}

template <typename T>
void store_first(T* to, Vec v, size_t count) {
    T padded[Vec::lanes];
    store(padded, v);
    memcpy(to, padded, count * sizeof(T));
}

// What tiles do otherwise. For the products of vectors lies a quad (or pair) of each token, then
// the next of each.
#ifndef QWEN3_VL_TILES
constexpr size_t many_tokens = tile_tokens, many_panels = tile_panels;
constexpr size_t many_run = 1;    // quads, or pairs, of a token that lie together
constexpr size_t some_pages = 8;  // of keys, between two looks at the largest score
#endif

// Where a quad or pair of a token lies in its tile of many tokens.
inline size_t place_of(size_t number, size_t token) {
    const size_t within = number % many_run;
    return (number - within) * many_tokens + token * many_run + within;
}

// The value that would be read back if `v` were stored as T.
template <typename T>
Vec round_to(Vec v);

template <>
inline Vec round_to<float>(Vec v) {
    return v;
}

template <>
inline Vec round_to<BFloat16>(Vec v) {
    return round_to_bfloat16(v);
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
