// Config files of the commands that measure, and the plans made of them.
#include "attend/config.hpp"
#include "bench/config.hpp"
#include "config/run_config.hpp"
#include "plan/plan.hpp"
#include "study/simulate/plan.hpp"
#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace asymptop;
  if (size == 0) return -1;
  fuzz::InputFile const file(data + 1, size - 1);
  char const* const argv[] = {"asymptop", "--config", file.path().c_str()};
  Machine machine;
  machine.memory_bytes = 64e9;
  return fuzz::answer([&] {
    switch (data[0]) {
      case 's': {
        auto const config = parse_study_options(3, argv, false);
        if (config && config->input.empty()) plan_study(*config, {}, machine);
        break;
      }
      case 'i': {
        auto const config = parse_simulate_options(3, argv, false);
        if (config) plan_simulation(*config, {});
        break;
      }
      case 'b':
        parse_bench_options(3, argv, false);
        break;
      default:
        parse_attend_options(3, argv, false);
    }
  });
}
