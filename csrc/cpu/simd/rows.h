// One float for each of the 16 rows of a panel.
#pragma once

#include "../layout.h"

namespace qwen3_vl::QWEN3_VL_VARIANT {
namespace {

struct Rows {
    static constexpr size_t parts = panel_rows / Vec::lanes;
    Vec part[parts];
};

}  // namespace
}  // namespace qwen3_vl::QWEN3_VL_VARIANT
