// Makes an int4 panel of the two halves in which its codes lie.
#include "../kernels.h"
#include "../simd/simd.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

constexpr uint64_t everywhere = 0x0101010101010101;

// A line of upper bits and one of lower bits make two lines.
inline void join_line(const uint8_t* upper, const uint8_t* lower, uint8_t* lines) {
    constexpr size_t words = line_bytes / sizeof(uint64_t);
    uint64_t u[words], l[words], first[words], second[words];
    memcpy(u, upper, line_bytes);
    memcpy(l, lower, line_bytes);
    for (size_t i = 0; i < words; ++i) {
        first[i] = (l[i] & 3 * everywhere) | (u[i] << 2 & 12 * everywhere) |
                   (l[i] << 2 & 48 * everywhere) | (u[i] << 4 & 192 * everywhere);
        second[i] = (l[i] >> 4 & 3 * everywhere) | (u[i] >> 2 & 12 * everywhere) |
                    (l[i] >> 2 & 48 * everywhere) | (u[i] & 192 * everywhere);
    }
    memcpy(lines, first, line_bytes);
    memcpy(lines + line_bytes, second, line_bytes);
}

}  // namespace

void join_halves(const uint8_t* upper, const uint8_t* lower, size_t blocks, uint8_t* panel) {
    for (size_t block = 0; block < blocks; ++block) {
        for (size_t line = 0; line < half_lines; ++line) {
            join_line(upper, lower, panel);
            upper += line_bytes;
            lower += line_bytes;
            panel += 2 * line_bytes;
        }
        memcpy(panel, upper, line_bytes);  // scales of groups
        upper += line_bytes;
        panel += line_bytes;
    }
    memcpy(panel, upper, panel_rows * sizeof(float));  // scales of rows
}

}  // namespace qwen3_vl::QWEN3_VL_VARIANT
