// bfloat16 as it lies in memory: the upper half of a float32. Only a name; arithmetic is in simd/.
#pragma once

#include <stdint.h>

namespace qwen3_vl {

struct BFloat16 {
    uint16_t bits;
};

}  // namespace qwen3_vl
