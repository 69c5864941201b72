#include "config/measure_options.hpp"

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "config/option_values.hpp"
#include "config/selector_list.hpp"
#include "kernels/core/counts.hpp"

namespace asymptop {

MeasureOptions measure_options(OptionValues const& values) {
  MeasureOptions options;
  options.output = values.get<std::filesystem::path>("output");
  options.force = values.on("force");
  options.dry_run = values.on("dry-run");
  options.json = values.get<std::filesystem::path>("json");
  options.input = values.get<std::filesystem::path>("input");
  options.config_file = values.get<std::filesystem::path>("config");
  options.seed = values.get<std::int64_t>("seed");
  options.block = checked_int(values.get<std::int64_t>("block"));
  options.threads = checked_int(values.get<std::int64_t>("threads"));
  if (options.threads == 0) options.threads = threads_of_openmp(std::getenv("OMP_NUM_THREADS"));
  options.config_text = values.config_text();
  return options;
}

bool help_printed(OptionValues const& values, Commands command, char const* introduction, bool print_help) {
  if (!values.help_wanted()) return false;
  if (!print_help) return true;
  if (values.given("help-selector")) {
    std::cout << selector_help("--help-selector", values.text("help-selector"));
    return true;
  }
  std::cout << introduction << "\n"
            << option_table().help(command) << "\nExit codes: 0 all valid, 1 a case INVALID or a failed run, 2 bad usage (nothing written)";
  bool const resumes = (option_table().row("resume").commands & command) != 0;
  std::cout << ",\n75 stopped on request (SIGUSR1, SIGTERM, Ctrl-C)" << (resumes ? ": --resume continues" : "");
  std::cout << ".\n";
  return true;
}

}  // namespace asymptop
