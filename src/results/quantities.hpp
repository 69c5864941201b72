// What a results file says of a case, quantity by quantity: attributes of its HDF5 group and members of its JSON records come from one
// table.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

#include "h5/h5.hpp"
#include "results/whole_file.hpp"
#include "row/estimate.hpp"
#include "row/residual.hpp"

namespace asymptop {

/// How HDF5 and JSON say that there is none: by the value as it is, or, in JSON, by null for a number that is 0 and a text that is empty.
enum class Absent { as_is, null_in_records };
/// Where a quantity stands.
enum class Stored { everywhere, in_file, in_records };

template <class Case>
struct Quantity {
  char const* name;
  std::function<h5::AnyAttribute(Case const&)> value;
  Stored stored = Stored::everywhere;
  Absent absent = Absent::as_is;
};

/// Numbers that are not finite are null: JSON has none.
inline nlohmann::ordered_json json_number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

inline nlohmann::ordered_json json_value(h5::AnyAttribute const& value, Absent absent) {
  return std::visit(
      [&](auto const& one) -> nlohmann::ordered_json {
        if (absent == Absent::null_in_records && one == std::decay_t<decltype(one)>{}) return nullptr;
        if constexpr (std::is_same_v<std::decay_t<decltype(one)>, double>) return json_number(one);
        return one;
      },
      value);
}

/// One estimate of a metric, as the records of every command hold it. k_law: empty where no k is meant.
inline void add_estimate(nlohmann::ordered_json& record, std::string const& metric, std::string const& parameter, std::string const& k_law,
                         Estimate const& value) {
  record["metric"] = metric;
  record["parameter"] = parameter;
  record["k_law"] = k_law.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(k_law);
  record["mean"] = json_number(value.mean);
  record["standard_error"] = json_number(value.standard_error);
}

template <class Case>
void write_attributes(hid_t group, std::vector<Quantity<Case>> const& quantities, Case const& c) {
  for (auto const& quantity : quantities) {
    if (quantity.stored == Stored::in_records) continue;
    std::visit([&](auto const& value) { h5::write_attribute(group, quantity.name, value); }, quantity.value(c));
  }
}

template <class Case>
void add_members(nlohmann::ordered_json& record, std::vector<Quantity<Case>> const& quantities, Case const& c) {
  for (auto const& quantity : quantities) {
    if (quantity.stored != Stored::in_file) record[quantity.name] = json_value(quantity.value(c), quantity.absent);
  }
}

/// The self-checks of a case: a scale of their names, the worst residuals and what is allowed, under names of the file's kind.
inline void write_checks(hid_t group, std::vector<Residual> const& residuals, std::string const& prefix, std::string const& worst_of) {
  std::vector<std::string> names;
  std::vector<double> worst, tolerance;
  for (auto const& residual : residuals) {
    names.push_back(residual.name);
    worst.push_back(residual.worst);
    tolerance.push_back(residual.tolerance);
  }
  h5::write_scale(group, "check", names, "self-check");
  h5::write_dataset(group, prefix + "residual", {{"check", names.size()}}, worst, "1", "worst residual over " + worst_of);
  h5::write_dataset(group, prefix + "tolerance", {{"check", names.size()}}, tolerance, "1", "largest residual of a valid case");
}

/// A results file of all cases so far, replaced as a whole: `fill(group, case)` for the group of each; then `more(file)`.
template <class Case, class Fill>
void write_cases(
    std::string const& output, Provenance const& provenance, std::vector<Case> const& cases, Fill const& fill,
    std::function<void(hid_t)> const& more = [](hid_t) {}) {
  write_whole(output, [&](hid_t file) {
    write_provenance(file, provenance);
    auto const groups = h5::create_group(file, "cases");
    for (auto const& item : cases) {
      auto const group = h5::create_group(groups, item.item.id);
      fill(group, item);
    }
    more(file);
  });
}

}  // namespace asymptop
