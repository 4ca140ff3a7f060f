#include "rotation.h"

#include "rounding.h"

#include <cmath>

namespace qwen3_vl {

void turn(const Rotation& rotation, const Positions& positions, size_t tokens, float* turns) {
    const size_t pairs = rotation.pairs;
    const auto kept = [&](float x) { return rotation.is_bf16 ? wide(rounded(x)) : x; };
    for (size_t token = 0; token < tokens; ++token, turns += 2 * pairs) {
        const int64_t* const own = positions.at + token * positions.token;
        for (size_t pair = 0; pair < pairs; ++pair) {
            const auto axis = static_cast<size_t>(rotation.axes[pair]);
            const auto position = static_cast<float>(own[axis * positions.axis]);
            const float angle = position * rotation.frequencies[pair];
            turns[pair] = kept(std::cos(angle));
            turns[pairs + pair] = kept(std::sin(angle));
        }
    }
}

}  // namespace qwen3_vl
