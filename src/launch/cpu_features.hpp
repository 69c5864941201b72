// What of x86-64 CPUs a program is compiled for, and which of it a CPU has: for code that runs before it is known, on any CPU.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace asymptop {
// Each file's own: of functions that several files had together, the linker might keep the copy of one that is compiled for more than the
// CPU has.
namespace {

/// What compilers make use of by themselves; bits of a set, by order. The last is the count.
enum class CpuFeature {
  sse4_2,
  popcnt,
  avx2,
  fma,
  f16c,
  bmi,
  bmi2,
  lzcnt,
  movbe,
  avx512f,
  avx512bw,
  avx512dq,
  avx512vl,
  avx512cd,
  avx512vbmi,
  avx512vbmi2,
  avx512ifma,
  avx512vnni,
  avx512bitalg,
  avx512vpopcntdq,
  avxvnni,
  count
};
using CpuFeatures = std::uint32_t;
constexpr CpuFeatures set_of(CpuFeature feature) { return CpuFeatures{1} << static_cast<int>(feature); }

/// Words of cpuid, and which registers the system keeps (xgetbv; 0 where it cannot be asked).
struct Cpuid {
  std::uint32_t leaf_1_c = 0, leaf_7_b = 0, leaf_7_c = 0, leaf_7_1_a = 0, extended_c = 0, kept = 0;
};

/// Where a feature is told, and registers that it needs.
struct FeatureBit {
  char const* name;
  std::uint32_t Cpuid::*word;
  int bit;
  std::uint32_t kept;
};

/// One for each feature, in their order.
constexpr std::uint32_t ymm = 0x6, zmm = 0xe6;
constexpr FeatureBit feature_bits[] = {{"sse4_2", &Cpuid::leaf_1_c, 20, 0},
                                       {"popcnt", &Cpuid::leaf_1_c, 23, 0},
                                       {"avx2", &Cpuid::leaf_7_b, 5, ymm},
                                       {"fma", &Cpuid::leaf_1_c, 12, ymm},
                                       {"f16c", &Cpuid::leaf_1_c, 29, ymm},
                                       {"bmi", &Cpuid::leaf_7_b, 3, 0},
                                       {"bmi2", &Cpuid::leaf_7_b, 8, 0},
                                       {"lzcnt", &Cpuid::extended_c, 5, 0},
                                       {"movbe", &Cpuid::leaf_1_c, 22, 0},
                                       {"avx512f", &Cpuid::leaf_7_b, 16, zmm},
                                       {"avx512bw", &Cpuid::leaf_7_b, 30, zmm},
                                       {"avx512dq", &Cpuid::leaf_7_b, 17, zmm},
                                       {"avx512vl", &Cpuid::leaf_7_b, 31, zmm},
                                       {"avx512cd", &Cpuid::leaf_7_b, 28, zmm},
                                       {"avx512vbmi", &Cpuid::leaf_7_c, 1, zmm},
                                       {"avx512vbmi2", &Cpuid::leaf_7_c, 6, zmm},
                                       {"avx512ifma", &Cpuid::leaf_7_b, 21, zmm},
                                       {"avx512vnni", &Cpuid::leaf_7_c, 11, zmm},
                                       {"avx512bitalg", &Cpuid::leaf_7_c, 12, zmm},
                                       {"avx512vpopcntdq", &Cpuid::leaf_7_c, 14, zmm},
                                       {"avxvnni", &Cpuid::leaf_7_1_a, 4, ymm}};
static_assert(sizeof feature_bits / sizeof *feature_bits == static_cast<int>(CpuFeature::count));

constexpr bool has_feature(Cpuid const& cpu, FeatureBit const& feature) {
  return (cpu.*feature.word >> feature.bit & 1u) != 0 && (cpu.kept & feature.kept) == feature.kept;
}

constexpr bool same_text(char const* a, char const* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}

/// The first of the wanted features that the CPU lacks; nullptr when it has them all. `pretended`: one that is taken for missing, for
/// tests; may be null.
constexpr char const* missing_feature(Cpuid const& cpu, CpuFeatures wanted, char const* pretended) {
  for (auto const& feature : feature_bits) {
    if ((wanted >> (&feature - feature_bits) & 1u) == 0) continue;
    if (!has_feature(cpu, feature) || (pretended != nullptr && same_text(pretended, feature.name))) return feature.name;
  }
  return nullptr;
}

/// Levels that the ABI of x86-64 names, the plainest first; x86-64-v2 is of no use to the kernels.
inline constexpr int level_count = 3;
struct CpuLevel {
  char const* name;
  CpuFeatures wanted;
};
constexpr CpuLevel numbered_level(int level) {
  using enum CpuFeature;
  CpuFeatures v3 = 0, v4 = 0;
  for (auto const feature : {sse4_2, popcnt, avx2, fma, f16c, bmi, bmi2, lzcnt, movbe}) v3 |= set_of(feature);
  for (auto const feature : {avx512f, avx512bw, avx512dq, avx512vl, avx512cd}) v4 |= set_of(feature);
  CpuLevel const all[level_count] = {{"x86-64", 0}, {"x86-64-v3", v3}, {"x86-64-v4", v3 | v4}};
  return all[level];
}

/// -1 where there is none of that name.
constexpr int level_of_name(char const* name) {
  for (int level = 0; level < level_count; ++level) {
    if (same_text(name, numbered_level(level).name)) return level;
  }
  return -1;
}

/// The best level that the CPU has of those that are there, bits of a set by order; -1 where it has none of them.
constexpr int best_level(Cpuid const& cpu, unsigned there, char const* pretended) {
  int best = -1;
  for (int level = 0; level < level_count; ++level) {
    if ((there >> level & 1u) != 0 && missing_feature(cpu, numbered_level(level).wanted, pretended) == nullptr) best = level;
  }
  return best;
}

/// What the file that includes this is compiled for.
constexpr CpuFeatures compiled_for() {
  CpuFeatures all = 0;
#if defined(__SSE4_2__)
  all |= set_of(CpuFeature::sse4_2);
#endif
#if defined(__POPCNT__)
  all |= set_of(CpuFeature::popcnt);
#endif
#if defined(__AVX2__)
  all |= set_of(CpuFeature::avx2);
#endif
#if defined(__FMA__)
  all |= set_of(CpuFeature::fma);
#endif
#if defined(__F16C__)
  all |= set_of(CpuFeature::f16c);
#endif
#if defined(__BMI__)
  all |= set_of(CpuFeature::bmi);
#endif
#if defined(__BMI2__)
  all |= set_of(CpuFeature::bmi2);
#endif
#if defined(__LZCNT__)
  all |= set_of(CpuFeature::lzcnt);
#endif
#if defined(__MOVBE__)
  all |= set_of(CpuFeature::movbe);
#endif
#if defined(__AVX512F__)
  all |= set_of(CpuFeature::avx512f);
#endif
#if defined(__AVX512BW__)
  all |= set_of(CpuFeature::avx512bw);
#endif
#if defined(__AVX512DQ__)
  all |= set_of(CpuFeature::avx512dq);
#endif
#if defined(__AVX512VL__)
  all |= set_of(CpuFeature::avx512vl);
#endif
#if defined(__AVX512CD__)
  all |= set_of(CpuFeature::avx512cd);
#endif
#if defined(__AVX512VBMI__)
  all |= set_of(CpuFeature::avx512vbmi);
#endif
#if defined(__AVX512VBMI2__)
  all |= set_of(CpuFeature::avx512vbmi2);
#endif
#if defined(__AVX512IFMA__)
  all |= set_of(CpuFeature::avx512ifma);
#endif
#if defined(__AVX512VNNI__)
  all |= set_of(CpuFeature::avx512vnni);
#endif
#if defined(__AVX512BITALG__)
  all |= set_of(CpuFeature::avx512bitalg);
#endif
#if defined(__AVX512VPOPCNTDQ__)
  all |= set_of(CpuFeature::avx512vpopcntdq);
#endif
#if defined(__AVXVNNI__)
  all |= set_of(CpuFeature::avxvnni);
#endif
  return all;
}

#if defined(__x86_64__)
inline Cpuid this_cpu() {
  Cpuid cpu;
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) != 0) cpu.leaf_1_c = c;
  if ((cpu.leaf_1_c >> 27 & 1u) != 0) asm volatile("xgetbv" : "=a"(cpu.kept), "=d"(d) : "c"(0));
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    cpu.leaf_7_b = b;
    cpu.leaf_7_c = c;
    if (a > 0) {
      __cpuid_count(7, 1, a, b, c, d);
      cpu.leaf_7_1_a = a;
    }
  }
  if (__get_cpuid(0x80000001, &a, &b, &c, &d) != 0) cpu.extended_c = c;
  return cpu;
}
#endif

}  // namespace
}  // namespace asymptop
