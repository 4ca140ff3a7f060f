#include "features.h"

#include <cstdint>

#ifdef __linux__
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
#define QWEN3_VL_ARM 1
#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define QWEN3_VL_X86 1
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace qwen3_vl::features {

bool scalar() { return true; }

size_t core_cache() {
#ifdef _SC_LEVEL2_CACHE_SIZE
    if (const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0) {
        return static_cast<size_t>(bytes);
    }
#endif
    return 512 * 1024;
}

#ifdef QWEN3_VL_X86
namespace {

struct Registers {
    std::uint32_t a, b, c, d;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t part = 0) {
#ifdef _MSC_VER
    int registers[4];
    __cpuidex(registers, static_cast<int>(leaf), static_cast<int>(part));
    return {static_cast<std::uint32_t>(registers[0]), static_cast<std::uint32_t>(registers[1]),
            static_cast<std::uint32_t>(registers[2]), static_cast<std::uint32_t>(registers[3])};
#else
    Registers r = {};
    __get_cpuid_count(leaf, part, &r.a, &r.b, &r.c, &r.d);  // zeros where the leaf does not exist
    return r;
#endif
}

// Which registers the operating system saves when it switches between threads.
std::uint64_t saved_state() {
#ifdef _MSC_VER
    return _xgetbv(0);
#else
    std::uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return std::uint64_t{high} << 32 | low;
#endif
}

constexpr bool has_all(std::uint64_t flags, std::uint64_t wanted) {
    return (flags & wanted) == wanted;
}

constexpr std::uint32_t bit(int position) { return std::uint32_t{1} << position; }

// Leaf 1, register c.
constexpr std::uint32_t fma_bit = bit(12), osxsave_bit = bit(27), avx_bit = bit(28),
                        f16c_bit = bit(29);
// Leaf 7, register b.
constexpr std::uint32_t avx2_bit = bit(5), avx512f_bit = bit(16), avx512dq_bit = bit(17),
                        avx512bw_bit = bit(30), avx512vl_bit = bit(31);
// Leaf 7, register c; leaf 7.1, register a.
constexpr std::uint32_t avx512vnni_bit = bit(11), avxvnni_bit = bit(4), avx512bf16_bit = bit(5);
// Leaf 7, register d.
constexpr std::uint32_t amx_bf16_bit = bit(22), amx_tile_bit = bit(24), amx_int8_bit = bit(25);
// Saved state: SSE and AVX halves; masks and both parts of the AVX-512 registers; the tiles' shapes
// and what they hold.
constexpr std::uint64_t avx_state = 0x06, avx512_state = 0xe0, amx_state = 0x60000;

// Tiles are large, so Linux saves them only for processes that have asked.
bool grants_tiles() {
#ifdef __linux__
    constexpr long ask = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, and which component
    return syscall(SYS_arch_prctl, ask, tile_data) == 0;
#else
    return false;
#endif
}

}  // namespace

bool avx2() {
    return has_all(cpuid(1).c, fma_bit | osxsave_bit | avx_bit | f16c_bit) &&
           has_all(cpuid(7).b, avx2_bit) && has_all(saved_state(), avx_state);
}

bool avx512() {
    return avx2() &&
           has_all(cpuid(7).b, avx512f_bit | avx512dq_bit | avx512bw_bit | avx512vl_bit) &&
           has_all(saved_state(), avx512_state);
}

bool avxvnni() { return avx2() && has_all(cpuid(7, 1).a, avxvnni_bit); }
bool avx512vnni() { return avx512() && has_all(cpuid(7).c, avx512vnni_bit); }
bool avx512bf16() { return avx512vnni() && has_all(cpuid(7, 1).a, avx512bf16_bit); }

bool amx() {
    return avx512bf16() && has_all(cpuid(7).d, amx_bf16_bit | amx_tile_bit | amx_int8_bit) &&
           has_all(saved_state(), amx_state) && grants_tiles();
}
#else
bool avx2() { return false; }
bool avxvnni() { return false; }
bool avx512() { return false; }
bool avx512vnni() { return false; }
bool avx512bf16() { return false; }
bool amx() { return false; }
#endif

#ifdef QWEN3_VL_ARM
bool neon() { return true; }

bool neondot() {
#if defined(__linux__)
    constexpr unsigned long dot_product = 1ul << 20;  // HWCAP_ASIMDDP
    return getauxval(AT_HWCAP) & dot_product;
#elif defined(__APPLE__)
    int has = 0;
    size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has;
#elif defined(_WIN32)
    constexpr DWORD dot_product = 43;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
    return IsProcessorFeaturePresent(dot_product);
#else
    return false;
#endif
}
#else
bool neon() { return false; }
bool neondot() { return false; }
#endif

}  // namespace qwen3_vl::features
