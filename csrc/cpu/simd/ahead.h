// Asks for memory before it is used.
#pragma once

#include "../layout.h"

#include <stddef.h>
#include <stdint.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// How far ahead of its use a line of weights is asked for: farther than memory takes, and over the
// 4 KB pages at which the processor's own look-ahead stops.
constexpr size_t ahead = 6144;

inline void ask_for(const uint8_t* line) {
#if defined(__GNUC__)
    __builtin_prefetch(line + ahead, 0, 2);
#endif
}

// Pages lie apart: the processor would wait for the first lines of each.
inline void ask_for(const uint8_t* from, size_t bytes) {
#if defined(__GNUC__)
    for (size_t at = 0; at < bytes; at += line_bytes) __builtin_prefetch(from + at, 0, 2);
#endif
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
