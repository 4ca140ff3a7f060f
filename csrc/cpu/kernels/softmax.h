// A softmax that goes along with the scores, some tokens at a time: what was added up before
// shrinks when a larger score comes.
#pragma once

#include "../pages.h"
#include "../simd/exponential.h"

#include <math.h>

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr size_t some_tokens = some_pages * page_tokens;
constexpr float unseen = -1e30f;  // finite: differences of infinities are no numbers

// Scores of a row; those of several rows lie one after the other.
using Scores = float[some_tokens];

// How far a row has come. Scores are powers of two here: logarithms are natural ones times this.
struct Softmax {
    static constexpr float bits = 1.44269504f;

    float largest = unseen, total = 0;

    // Looks at `count` scores, each to be multiplied by a factor above zero, of which only the
    // first are seen; gives by how much all before shrinks.
    float meet(float* scores, size_t seen, size_t count, float factor) {
        return rise(highest(scores, seen, count, factor));
    }

    // The highest of such scores; hides those that are not seen.
    static float highest(float* scores, size_t seen, size_t count, float factor) {
        for (size_t token = seen; token < count; ++token) scores[token] = unseen / factor;
        Vec most = broadcast(unseen / factor);
        for (size_t at = 0; at < count; at += Vec::lanes) most = maximum(most, load(scores + at));
        return largest_of(most) * factor;
    }

    // Hands the weights of scores that were met to `keep(token, weights)`.
    template <typename Keep>
    void weigh(const float* scores, size_t count, float factor, const Keep& keep) {
        Vec sums = broadcast(0);
        for (size_t at = 0; at < count; at += Vec::lanes) {
            const Vec weights = exponential2(
                multiply_add(load(scores + at), broadcast(factor), broadcast(-largest)));
            sums = sums + weights;
            keep(at, weights);
        }
        total += sum(sums);
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
