// A softmax that goes along with the scores, some tokens at a time: what was added up before
// shrinks when a larger score comes.
#pragma once

#include "../pages.h"
#include "../simd/exponential.h"

#include <math.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr size_t some_pages = 4;  // between two looks at the largest score
constexpr size_t some_tokens = some_pages * page_tokens;
constexpr float unseen = -1e30f;  // finite: differences of infinities are no numbers

// Scores of a row; those of several rows lie one after the other.
using Scores = float[some_tokens];

// How far a row has come. Scores are powers of two here: logarithms are natural ones times this.
struct Softmax {
    static constexpr float bits = 1.44269504f;

    float largest = unseen, total = 0;

    // Hands the weights of `count` scores, each times a factor above zero, to `keep(token,
    // weights)`; only the first are seen, the rest weighs nothing. Gives by how much all before
    // shrinks.
    template <typename Keep>
    float weigh(float* scores, size_t seen, size_t count, float factor, const Keep& keep) {
        if (seen == 0) {
            for (size_t at = 0; at < count; at += Vec::lanes) keep(at, broadcast(0));
            return 1;
        }
        for (size_t token = seen; token < count; ++token) scores[token] = unseen / factor;
        Vec most = broadcast(unseen / factor);
        for (size_t at = 0; at < count; at += Vec::lanes) most = maximum(most, load(scores + at));
        const float shrink = rise(largest_of(most) * factor);
        Vec sums = broadcast(0);
        for (size_t at = 0; at < count; at += Vec::lanes) {
            const Vec weights = exponential2(
                multiply_add(load(scores + at), broadcast(factor), broadcast(-largest)));
            sums = sums + weights;
            keep(at, weights);
        }
        total += sum(sums);
        return shrink;
    }

    // Looks at a score, perhaps the largest so far; gives by how much all before shrinks.
    float rise(float score) {
        if (score <= largest) return 1;
        const float shrink = exp2f(largest - score);
        largest = score;
        total *= shrink;
        return shrink;
    }

    float log_sum() const { return (largest + log2f(total)) / bits; }
};

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
