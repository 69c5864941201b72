// Products of tiles of bytes: the tile registers that some x86-64 processors have (AMX-INT8), each up to 16 rows of 64 bytes.
//
// Linux hands them out on request, once for a process; the registers and their shapes are a thread's own. ASYMPTOP_TILES=off in the
// environment does without. ASYMPTOP_TILES_EMULATED, for tests, spells the instructions out, on any processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace asymptop::tiles {

inline constexpr int rows = 16, row_bytes = 64, registers = 8;

/// The shape of each register; 0 rows: not used. As the processor reads it.
struct alignas(64) Shapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};  ///< of a row
  std::uint8_t row_count[16] = {};

  void set(int tile, int count, int bytes_of_row) {
    row_count[tile] = static_cast<std::uint8_t>(count);
    bytes[tile] = static_cast<std::uint16_t>(bytes_of_row);
  }
};
static_assert(sizeof(Shapes) == 64);

#if defined(ASYMPTOP_TILES_EMULATED)

inline bool usable() { return true; }

/// What a thread has.
struct Registers {
  Shapes shapes;
  std::uint8_t tile[registers][rows][row_bytes];
};
inline Registers& own() {
  static thread_local Registers mine{};
  return mine;
}
inline void configure(Shapes const& shapes) { own() = {shapes, {}}; }
inline void release() { own() = {}; }
template <int t>
void zero() {
  std::memset(own().tile[t], 0, sizeof own().tile[t]);
}
template <int t>
void load(void const* from, std::ptrdiff_t stride) {
  zero<t>();
  for (int r = 0; r < own().shapes.row_count[t]; ++r)
    std::memcpy(own().tile[t][r], static_cast<std::uint8_t const*>(from) + r * stride, own().shapes.bytes[t]);
}
template <int t>
void store(void* to, std::ptrdiff_t stride) {
  for (int r = 0; r < own().shapes.row_count[t]; ++r)
    std::memcpy(static_cast<std::uint8_t*>(to) + r * stride, own().tile[t][r], own().shapes.bytes[t]);
}
template <int sum, int a, int b>
void add_products() {
  auto& all = own();
  for (int r = 0; r < all.shapes.row_count[sum]; ++r) {
    for (int c = 0; c < all.shapes.bytes[sum] / 4; ++c) {
      std::int32_t total;
      std::memcpy(&total, &all.tile[sum][r][4 * c], 4);
      for (int i = 0; i < all.shapes.bytes[a] / 4 && i < all.shapes.row_count[b]; ++i) {
        for (int l = 0; l < 4; ++l) total += all.tile[a][r][4 * i + l] * static_cast<std::int8_t>(all.tile[b][i][4 * c + l]);
      }
      std::memcpy(&all.tile[sum][r][4 * c], &total, 4);
    }
  }
}

#elif defined(__x86_64__) && defined(__linux__)

/// Whether this processor has tiles of bytes, and AVX512-VBMI2 as all of its kind, and the system gives them to this process, which is
/// asked for at the first call.
inline bool usable() {
  static bool const answer = [] {
    char const* const wanted = std::getenv("ASYMPTOP_TILES");
    if (wanted != nullptr && std::string_view(wanted) == "off") return false;
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned amx_tile = 1u << 24, amx_int8 = 1u << 25, vbmi2 = 1u << 6;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & amx_tile) == 0 || (d & amx_int8) == 0 || (c & vbmi2) == 0) return false;
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  }();
  return answer;
}

// Written as assembly: gcc and clang ask for different things before they offer their own names for these. What is read and written is
// named, generously, from an address on: a compiler that had to think of all memory would keep none of it in registers.
struct Reach {
  unsigned char bytes[1 << 20];
};
inline void configure(Shapes const& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }
inline void release() { asm volatile("tilerelease"); }
template <int t>
void zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(t));
}
template <int t>
void load(void const* from, std::ptrdiff_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(t), "m"(*static_cast<Reach const*>(from)));
}
template <int t>
void store(void* to, std::ptrdiff_t stride) {
  asm volatile("tilestored %%tmm%c3, (%1,%2,1)" : "+m"(*static_cast<Reach*>(to)) : "r"(to), "r"(stride), "i"(t));
}
/// sum (rows of a, 32-bit columns) += a, unsigned bytes in fours along its rows, times b, signed ones, a row for each four.
template <int sum, int a, int b>
void add_products() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(a), "i"(b));
}

#else

inline bool usable() { return false; }
inline void configure(Shapes const&) {}
inline void release() {}
template <int t>
void zero() {}
template <int t>
void load(void const*, std::ptrdiff_t) {}
template <int t>
void store(void*, std::ptrdiff_t) {}
template <int sum, int a, int b>
void add_products() {}

#endif

}  // namespace asymptop::tiles
