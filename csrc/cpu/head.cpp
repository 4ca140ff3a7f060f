#include "head.h"

#include "largest.h"

#include <mutex>
#include <utility>
#include <vector>

namespace qwen3_vl {
namespace {

// A few tokens bring the largest of each panel along.
Peaks multiplied(const Kernels& kernels, Pool& pool, const Head& head, const float* x,
                 size_t tokens, float* logits) {
    const size_t words = head.matrix.outputs(), panels = (words + panel_rows - 1) / panel_rows;
    std::vector<float> most(tokens <= few ? tokens * panels : 0);
    multiply(kernels, pool, {x, {}, tokens, head.matrix, nullptr, logits, most.data()});
    if (tokens <= few) return {kernels, logits, words, panel_rows, std::move(most), panels};
    const std::lock_guard<std::mutex> turn(pool.turn());
    return {kernels, pool, logits, tokens, words};
}

struct Likely {
    size_t token, word;
};

}  // namespace

void score(const Kernels& kernels, Pool& pool, const Head& head, const float* x, size_t tokens,
           float* logits) {
    if (head.refined == 0) {
        multiply(kernels, pool, {x, {}, tokens, head.matrix, nullptr, logits});
        return;
    }
    const Peaks peaks = multiplied(kernels, pool, head, x, tokens, logits);
    std::vector<Likely> all;
    all.reserve(tokens * head.refined);
    for (size_t token = 0; token < tokens; ++token) {
        for (const int64_t word : peaks.largest(token, head.refined)) {
            all.push_back({token, static_cast<size_t>(word)});
        }
    }
    const size_t words = head.matrix.outputs(), inputs = head.matrix.inputs;
    const auto product = [&](const Likely& one) {
        const float* const token = x + one.token * inputs;
        const size_t row = one.word * inputs;
        return head.is_bf16
                   ? kernels.dot_bf16(static_cast<const BFloat16*>(head.table) + row, token, inputs)
                   : kernels.dot_f32(static_cast<const float*>(head.table) + row, token, inputs);
    };
    const std::lock_guard<std::mutex> turn(pool.turn());
    const size_t threads = static_cast<size_t>(pool.threads());
    pool.run([&](int number) {
        const size_t thread = static_cast<size_t>(number);
        const size_t end = all.size() * (thread + 1) / threads;
        for (size_t i = all.size() * thread / threads; i < end; ++i) {
            logits[all[i].token * words + all[i].word] = product(all[i]);
        }
    });
}

}  // namespace qwen3_vl
