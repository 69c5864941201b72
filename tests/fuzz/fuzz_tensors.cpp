// Tensor files: opened, planned for, and a head of them scanned.
#include <algorithm>

#include "config/run_config.hpp"
#include "plan/plan.hpp"
#include "shard/tensor_file.hpp"
#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace asymptop;
  static int const quiet = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  if (quiet < 0) std::abort();
  fuzz::InputFile const file(data, size);
  return fuzz::answer([&] {
    try_tensor_file(file.path());
    TensorFile const tensors(file.path());
    char const* const argv[] = {"asymptop", "--input", "x", "--n", "64", "--rows", "4", "--draws", "1"};
    auto const config = parse_study_options(9, argv, false);
    Machine machine;
    machine.memory_bytes = 64e9;
    auto const shape = tensors.shape();
    plan_study(*config, shape, machine);
    auto const& layer = tensors.layer(tensors.texts() - 1, shape.layers.back().layer);
    scan_head(layer, layer.heads() - 1, 0, std::min<std::int64_t>(layer.n(), 8192));
  });
}
