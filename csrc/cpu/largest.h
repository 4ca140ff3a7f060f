// Where the largest numbers of long rows are.
#pragma once

#include "dispatch.h"
#include "pool.h"

namespace qwen3_vl {

// The places [rows, count] of the largest numbers of `x` [rows, width], the largest first, of equal
// ones the first. NaN is larger than any number. There must be so many.
void largest(const Kernels& kernels, Pool& pool, const float* x, size_t rows, size_t width,
             size_t count, int64_t* places);

}  // namespace qwen3_vl
