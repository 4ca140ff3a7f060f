#include "dispatch.h"

#include "features.h"
#include "variants.h"  // QWEN3_VL_VARIANTS(X): X(name) for each, fastest first; CMake writes it

#include <stdexcept>

namespace qwen3_vl {

#define QWEN3_VL_DECLARE(name)    \
    namespace name {              \
    extern const Kernels kernels; \
    }
QWEN3_VL_VARIANTS(QWEN3_VL_DECLARE)
#undef QWEN3_VL_DECLARE

namespace {

struct Built {
    Variant variant;
    bool (*runs_here)();
};

#define QWEN3_VL_ENTRY(name) {{#name, &name::kernels}, features::name},
constexpr Built built[] = {QWEN3_VL_VARIANTS(QWEN3_VL_ENTRY)};
#undef QWEN3_VL_ENTRY

std::vector<Variant> find_available() {
    std::vector<Variant> available;
    for (const Built& one : built) {
        if (one.runs_here()) available.push_back(one.variant);
    }
    return available;
}

std::string listed(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

}  // namespace

std::vector<std::string> built_variants() {
    std::vector<std::string> names;
    for (const Built& one : built) names.emplace_back(one.variant.name);
    return names;
}

const std::vector<Variant>& available_variants() {
    static const std::vector<Variant> available = find_available();
    return available;
}

const Variant& choose_variant(const std::string& name) {
    if (name.empty()) return available_variants().front();
    std::vector<std::string> possible;
    for (const Variant& variant : available_variants()) {
        if (variant.name == name) return variant;
        possible.emplace_back(variant.name);
    }
    throw std::invalid_argument("'" + name + "' cannot be used; this build has " +
                                listed(built_variants()) + "; of these, this machine runs " +
                                listed(possible));
}

}  // namespace qwen3_vl
