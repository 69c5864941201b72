#include "config/assumed_machine.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "config/law.hpp"
#include "config/number_text.hpp"
#include "config/option_values.hpp"
#include "kernels/core/counts.hpp"

namespace asymptop {
namespace {

/// `256GB`, `64e9`: bytes, with a unit of 1000 or, as in `4GiB`, of 1024.
double parse_bytes(std::string const& name, std::string const& text) {
  auto const number = leading_number<double>(text);
  std::vector<std::string> const decimal{"", "kB", "MB", "GB", "TB"}, binary{"B", "KiB", "MiB", "GiB", "TiB"};
  auto const power = [&](std::vector<std::string> const& units) {
    return exact_double(std::find(units.begin(), units.end(), number.rest) - units.begin());
  };
  double const bytes =
      power(decimal) < 5.0 ? number.value * std::pow(1000.0, power(decimal)) : number.value * std::pow(1024.0, power(binary));
  if (power(binary) + power(decimal) >= 10.0 || !(bytes > 0.0) || !std::isfinite(bytes))
    throw UsageError("--machine", name + "=" + text, "is not bytes such as 64e9, 64GB or 64GiB");
  return bytes;
}

}  // namespace

AssumedMachine parse_machine(std::string const& text) {
  AssumedMachine machine;
  std::vector<std::string> seen;
  for (auto const& item : split_list("--machine", text)) {
    auto const equals = std::min(item.find('='), item.size());
    auto const name = item.substr(0, equals), value = equals < item.size() ? item.substr(equals + 1) : "";
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) throw UsageError("--machine", text, "names " + name + " twice");
    seen.push_back(name);
    auto const whole = [&](int high) { return checked_int(parse_integer("--machine " + name, value, 1, high)); };
    if (name == "nodes") {
      machine.nodes = whole(1 << 20);
    } else if (name == "ranks-per-node") {
      machine.ranks_per_node = whole(1 << 10);
    } else if (name == "threads") {
      machine.threads = whole(1 << 10);
    } else if (name == "memory") {
      machine.memory_bytes = parse_bytes(name, value);
    } else if (name == "gpu-memory") {
      machine.gpu_memory_bytes = parse_bytes(name, value);
    } else {
      throw UsageError("--machine", item, "is none of: nodes=N, ranks-per-node=N, threads=N, memory=BYTES, gpu-memory=BYTES");
    }
  }
  return machine;
}

}  // namespace asymptop
