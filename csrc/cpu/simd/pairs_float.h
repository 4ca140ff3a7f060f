// Without products of bfloat16, many tokens are multiplied in float32 as a few are.
#pragma once

#include "float_pairs.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

using Pair = FloatPair;

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
