// Asks for weights before they are used.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

// How far ahead of its use a line is asked for: farther than memory takes, and over the 4 KB pages
// at which the processor's own look-ahead stops.
constexpr size_t ahead = 6144;

inline void ask_for(const uint8_t* line) {
#if defined(__GNUC__)
    __builtin_prefetch(line + ahead, 0, 2);
#endif
}

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
