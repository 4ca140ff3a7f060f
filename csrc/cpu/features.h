// One question per variant: do this processor and its operating system run it? And one about its
// cache.
#pragma once

#include <stddef.h>

namespace qwen3_vl::features {

bool scalar();
bool avx2();
bool avxvnni();
bool avx512();
bool avx512vnni();
bool avx512bf16();
bool amx();  // asks the operating system for the tiles, as each process must
bool neon();
bool neondot();

// Bytes of the cache that each core has for itself, or a usual number of them where nobody tells.
size_t core_cache();

}  // namespace qwen3_vl::features
