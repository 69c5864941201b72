// Values of the fields of a table: of one row, or of all rows of a case, one after another.
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "row/fields.hpp"

namespace asymptop {

/// Per field a list of (rows) or (rows, axis) numbers, row-major; empty for fields that are not measured.
class FieldValues {
 public:
  explicit FieldValues(std::span<RowField const> fields = row_fields) : fields_(fields) {
    for (auto const& field : fields) {
      if (field.number == Number::real) columns_.emplace_back(std::vector<double>());
      if (field.number == Number::count) columns_.emplace_back(std::vector<std::int64_t>());
    }
  }

  std::span<RowField const> fields() const { return fields_; }

  std::vector<double>& real(RealField field) { return std::get<std::vector<double>>(columns_[field.place]); }
  std::vector<double> const& real(RealField field) const { return std::get<std::vector<double>>(columns_[field.place]); }
  std::vector<std::int64_t>& count(CountField field) { return std::get<std::vector<std::int64_t>>(columns_[field.place]); }
  std::vector<std::int64_t> const& count(CountField field) const { return std::get<std::vector<std::int64_t>>(columns_[field.place]); }

  /// Calls visit(field, its values) for each that the case has.
  template <class Visit>
  void each(FieldAxes const& axes, Visit const& visit) {
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (axes.has(fields_[i])) std::visit([&](auto& values) { visit(fields_[i], values); }, columns_[i]);
    }
  }
  template <class Visit>
  void each(FieldAxes const& axes, Visit const& visit) const {
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (axes.has(fields_[i])) std::visit([&](auto const& values) { visit(fields_[i], values); }, columns_[i]);
    }
  }

  /// Adds the rows of another one with the same fields.
  void append(FieldValues const& more) {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      std::visit(
          [&](auto& to) {
            auto const& from = std::get<std::decay_t<decltype(to)>>(more.columns_[i]);
            to.insert(to.end(), from.begin(), from.end());
          },
          columns_[i]);
    }
  }

 private:
  std::span<RowField const> fields_;
  std::vector<std::variant<std::vector<double>, std::vector<std::int64_t>>> columns_;
};

}  // namespace asymptop
