// One question per variant: do this processor and its operating system run it?
#pragma once

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

}  // namespace qwen3_vl::features
