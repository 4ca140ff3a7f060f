// The draw of one word from its logits.
#pragma once

#include "dispatch.h"
#include "pool.h"

namespace qwen3_vl {

// Which words may be drawn, one filter after the other; ops/sampling.py says what they mean.
struct Filters {
    size_t top_k;  // 0: all
    double temperature, top_p, min_p;
};

// The word that `point`, above 0 and up to 1, falls to where the odds of all that may be drawn lie
// side by side; the likeliest itself if its logit is no finite number.
int64_t draw(const Kernels& kernels, Pool& pool, const float* logits, size_t words,
             const Filters& filters, double point);

}  // namespace qwen3_vl
