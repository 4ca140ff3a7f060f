// Where the largest numbers of long rows are.
#pragma once

#include "dispatch.h"
#include "pool.h"

#include <vector>

namespace qwen3_vl {

// The largest number of each block of some rows: by these the largest of all are found without a
// look at most of them. The rows must outlive it.
class Peaks {
   public:
    // Looks at all there is, on all threads: `pool.turn()` is held meanwhile.
    Peaks(const Kernels& kernels, Pool& pool, const float* x, size_t rows, size_t width);

    // Takes what is known, [rows, stride], where the last block of a row may be fuller than it.
    Peaks(const Kernels& kernels, const float* x, size_t width, size_t block,
          std::vector<float> most, size_t stride);

    // The places of the largest numbers of a row, the largest first, of equal ones the first. NaN
    // is larger than any number. There must be so many.
    std::vector<int64_t> largest(size_t row, size_t count) const;

   private:
    const Kernels& kernels_;
    const float* const x_;
    const size_t width_, block_;
    std::vector<float> most_;
    const size_t stride_;
};

}  // namespace qwen3_vl
