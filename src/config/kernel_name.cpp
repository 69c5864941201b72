#include "config/kernel_name.hpp"

namespace asymptop {

char const* name_of(BenchKernel value) {
  switch (value) {
    case BenchKernel::score:
      return "score";
    case BenchKernel::profile:
      return "profile";
    case BenchKernel::top_k:
      return "top-k";
    case BenchKernel::exact_attention:
      return "exact-attention";
    case BenchKernel::top_k_attention:
      return "top-k-attention";
    case BenchKernel::normals:
      return "normals";
    case BenchKernel::merge:
      return "merge";
  }
  return "";
}

}  // namespace asymptop
