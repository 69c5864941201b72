// What the processor that a program runs on has beyond what the program was compiled for; asked once, at its start.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace asymptop::processor {

/// A bit of what the instruction cpuid says of leaf 7: of register `c` of its part 0, or `a` of its part 1.
inline bool has_leaf_7([[maybe_unused]] unsigned part, [[maybe_unused]] unsigned bit) {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || part > a) return false;
  if (part > 0) __cpuid_count(7, part, a, b, c, d);
  return ((part == 0 ? c : a) >> bit & 1u) != 0;
#else
  return false;
#endif
}

/// Dot products of bytes in vectors, for programs that use AVX-512 and AVX2 anyway: whether the system keeps those is theirs to know.
inline bool const avx512_vnni = has_leaf_7(0, 11);
inline bool const avx_vnni = has_leaf_7(1, 4);

}  // namespace asymptop::processor
