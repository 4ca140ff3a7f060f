// Which variants this build has, which of them run here, and which one is used.
#pragma once

#include "kernels.h"

#include <string>
#include <vector>

namespace qwen3_vl {

struct Variant {
    const char* name;
    const Kernels* kernels;
};

// The names of all variants in this build, fastest first.
std::vector<std::string> built_variants();

// Those that this machine runs, fastest first; never empty. The machine is asked once.
const std::vector<Variant>& available_variants();

// The variant of that name, or the fastest if the name is empty. Throws std::invalid_argument,
// with what is possible, for a name that is unknown or that this machine does not run.
const Variant& choose_variant(const std::string& name);

}  // namespace qwen3_vl
