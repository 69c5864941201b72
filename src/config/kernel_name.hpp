// The kernels that can be asked for by name.
#pragma once

namespace asymptop {

enum class BenchKernel { score, profile, top_k, exact_attention, top_k_attention, normals, merge };
/// What `all` means: attention, and neither the numbers that it is tried on nor what ranks exchange for it alone.
inline constexpr BenchKernel all_bench_kernels[] = {BenchKernel::score, BenchKernel::profile, BenchKernel::top_k,
                                                    BenchKernel::exact_attention, BenchKernel::top_k_attention};

char const* name_of(BenchKernel value);
/// Whether the kernel selects, so that k is one of its axes.
inline bool takes_k(BenchKernel kernel) {
  return kernel == BenchKernel::profile || kernel == BenchKernel::top_k || kernel == BenchKernel::top_k_attention ||
         kernel == BenchKernel::merge;
}
/// Whether the kernel reads values.
inline bool takes_values(BenchKernel kernel) {
  return kernel == BenchKernel::exact_attention || kernel == BenchKernel::top_k_attention || kernel == BenchKernel::merge;
}

}  // namespace asymptop
