#include "config/input_list.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <sstream>

#include "config/errors.hpp"
#include "config/law.hpp"
#include "config/number_text.hpp"
#include "kernels/input/ar1_levels.hpp"

namespace asymptop {
namespace {

/// An input's name, and what its numbers may be.
struct Known {
  Distribution distribution;
  char const* name;
  char const* numbers;  ///< of its parameter; empty where it has none
  double low, high;
  bool whole = false;
};

constexpr double default_spread = 0.5;

std::array<Known, 8> const known = {
    {{Distribution::gaussian, "gaussian", "", 0, 0},
     {Distribution::uniform, "uniform", "", 0, 0},
     {Distribution::rademacher, "rademacher", "", 0, 0},
     {Distribution::sphere, "sphere", "", 0, 0},
     {Distribution::student, "student", "NU from 1 to 10^6", 1.0, 1e6},
     {Distribution::ar1, "ar1", "RHO from -0.999999 to 0.999999", -Ar1Levels::largest_rho, Ar1Levels::largest_rho},
     {Distribution::clusters, "clusters", "COUNT, a whole number from 2 to 65536", 2, 65536, true},
     {Distribution::needle, "needle", "STRENGTH from 0 to 100", 0.0, 100.0}}};

double number(std::string const& item, std::string const& text, std::string const& what, double low, double high, bool whole) {
  auto const value = number_of<double>(text);
  bool const good = value && *value >= low && *value <= high;
  if (!good || (whole && *value != std::floor(*value))) throw UsageError("--inputs", item, "needs " + what);
  return *value + 0.0;  // no negative zero
}

InputKind parse_input(std::string const& item) {
  std::vector<std::string> parts;
  std::istringstream in(item + ":");
  for (std::string part; std::getline(in, part, ':');) parts.push_back(part);
  auto const it = std::find_if(known.begin(), known.end(), [&](Known const& k) { return parts[0] == k.name; });
  if (it == known.end()) {
    std::string allowed;
    for (auto const& k : known) allowed += (allowed.empty() ? "" : ", ") + std::string(k.name);
    throw UsageError("--inputs", item, "is none of: " + allowed);
  }
  bool const has_number = it->numbers[0] != '\0';
  InputKind kind{it->distribution, 0.0, it->distribution == Distribution::clusters ? default_spread : 0.0};
  std::size_t const most = !has_number ? 1 : kind.is(Distribution::clusters) ? 3 : 2;
  if (parts.size() > most) throw UsageError("--inputs", item, "has more numbers than " + std::string(it->name) + " takes");
  if (!has_number) return kind;
  kind.parameter = number(item, parts.size() > 1 ? parts[1] : "", it->numbers, it->low, it->high, it->whole);
  if (parts.size() > 2) kind.spread = number(item, parts[2], "a SPREAD of its clusters from 0 to 1", 0.0, 1.0, false);
  return kind;
}

}  // namespace

std::string name_of(InputKind const& kind) {
  auto const& k = *std::find_if(known.begin(), known.end(), [&](Known const& item) { return kind.is(item.distribution); });
  std::string name = k.name;
  if (k.numbers[0] != '\0') name += ":" + shortest(kind.parameter);
  if (kind.is(Distribution::clusters)) name += ":" + shortest(kind.spread);
  return name;
}

std::vector<InputKind> parse_inputs(std::string const& list) {
  std::vector<InputKind> kinds;
  for (auto const& item : split_list("--inputs", list)) {
    auto const kind = parse_input(item);
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) throw UsageError("--inputs", list, "names " + name_of(kind) + " twice");
    kinds.push_back(kind);
  }
  return kinds;
}

}  // namespace asymptop
