#include "results/compare.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "config/errors.hpp"
#include "config/number_text.hpp"
#include "config/options.hpp"
#include "h5/h5.hpp"
#include "results/attributes.hpp"

namespace asymptop {
namespace {

/// What a run measures of itself beside its results, and where its numbers are no options'.
std::set<std::string> const of_the_run = {"seconds_total", "seconds_pass", "phase", "phase_seconds",
                                          // of attend
                                          "ranks", "exact_seconds", "top_k_seconds", "exact_gflops", "top_k_gflops", "peak_bytes_per_rank",
                                          "bytes_sent", "residual", "tolerance"};

/// Whether an attribute or dataset is of the result: not what a run measures of itself, and no option that leaves results alone.
bool is_data(std::string const& name) {
  if (of_the_run.count(name) != 0 || name.starts_with(run_attribute)) return false;
  auto const identity = option_table().identity(name);
  return identity != OptionIdentity::manner && identity != OptionIdentity::unrecorded;
}

/// A case's attributes, but for what it was asked for when how many draws it got depended on them: those alone tell; and but for what only
/// runs on a GPU have.
std::vector<std::string> names_of_attributes(hid_t group) {
  auto names = h5::attribute_names(group);
  std::erase_if(names, [](auto const& name) {
    return name.starts_with("target_") || name.starts_with("device_") || name.starts_with(run_attribute);
  });
  return names;
}

/// An attribute's value as comparable text.
std::string attribute_text(hid_t object, std::string const& name) {
  return std::visit([](auto const& value) { return shown(value); }, h5::read_attribute(object, name));
}

std::string list_difference(std::string const& where, std::vector<std::string> const& a, std::vector<std::string> const& b) {
  for (auto const& name : a) {
    if (std::find(b.begin(), b.end(), name) == b.end()) return where + name + " is only in the first file";
  }
  for (auto const& name : b) {
    if (std::find(a.begin(), a.end(), name) == a.end()) return where + name + " is only in the second file";
  }
  return "";
}

template <class T>
std::string value_difference(std::string const& where, std::vector<T> const& a, std::vector<T> const& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    bool equal = false;
    if constexpr (std::is_arithmetic_v<T>) {
      equal = std::memcmp(&a[i], &b[i], sizeof(T)) == 0;  // NOLINT(bugprone-suspicious-memory-comparison): bytes are what counts
    } else {
      equal = a[i] == b[i];
    }
    if (equal) continue;
    return where + " differs at element " + std::to_string(i) + ": " + shown(a[i]) + " and " + shown(b[i]);
  }
  return "";
}

std::string dataset_difference(std::string const& where, hid_t a, hid_t b, std::string const& name) {
  auto const x = h5::read_dataset(a, name), y = h5::read_dataset(b, name);
  if (x.shape != y.shape || x.numbers.size() != y.numbers.size() || x.integers.size() != y.integers.size() ||
      x.texts.size() != y.texts.size()) {
    return where + name + " has another shape or type";
  }
  auto difference = value_difference(where + name, x.numbers, y.numbers);
  if (difference.empty()) difference = value_difference(where + name, x.integers, y.integers);
  if (difference.empty()) difference = value_difference(where + name, x.texts, y.texts);
  return difference;
}

std::string case_difference(std::string const& id, hid_t a, hid_t b) {
  auto const where = "case " + id + ": ";
  auto difference = list_difference(where + "attribute ", names_of_attributes(a), names_of_attributes(b));
  if (!difference.empty()) return difference;
  for (auto const& name : names_of_attributes(a)) {
    if (!is_data(name)) continue;
    auto const x = attribute_text(a, name), y = attribute_text(b, name);
    if (x != y) return where + "attribute " + name + " differs: " + x + " and " + y;
  }
  difference = list_difference(where + "dataset ", h5::group_members(a), h5::group_members(b));
  for (auto const& name : h5::group_members(a)) {
    if (!difference.empty()) return difference;
    if (is_data(name)) difference = dataset_difference(where, a, b, name);
  }
  return difference;
}

}  // namespace

std::string first_difference(std::string const& path_a, std::string const& path_b) {
  auto const a = h5::open_file(path_a), b = h5::open_file(path_b);
  for (auto const& [file, path] : {std::pair{&a, &path_a}, {&b, &path_b}}) {
    if (!h5::has_attribute(*file, "schema_version") || !h5::has_link(*file, "cases"))
      throw UsageError("compare", *path, "is not a results file");
    if (h5::has_attribute(*file, "kind") && h5::read_text_attribute(*file, "kind") == "bench")
      throw UsageError("compare", *path, "holds timings, which are never the same twice; compare reads studies");
    auto const version = h5::read_int_attribute(*file, "schema_version");
    if (version != 1) throw UsageError("compare", *path, "has schema version " + std::to_string(version) + "; this program reads 1");
  }
  auto const cases_a = h5::open_group(a, "cases"), cases_b = h5::open_group(b, "cases");
  // Cases of both files first, whatever else was studied.
  auto const ids_a = h5::group_members(cases_a), ids_b = h5::group_members(cases_b);
  std::size_t shared = 0;
  for (auto const& id : ids_a) {
    if (std::find(ids_b.begin(), ids_b.end(), id) == ids_b.end()) continue;
    auto difference = case_difference(id, h5::open_group(cases_a, id), h5::open_group(cases_b, id));
    if (!difference.empty()) return difference;
    ++shared;
  }
  auto difference = list_difference("case ", ids_a, ids_b);
  if (!difference.empty() && shared > 0) difference += "; the " + std::to_string(shared) + " case(s) of both are equal";
  return difference;
}

}  // namespace asymptop
