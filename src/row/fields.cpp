#include "row/fields.hpp"

namespace asymptop {

namespace {

/// A bar would end the cell.
std::string escaped(std::string const& text) {
  std::string cell;
  for (char const c : text) cell += c == '|' ? "\\|" : std::string(1, c);
  return cell;
}

}  // namespace

char const* name_of(Axis axis) {
  switch (axis) {
    case Axis::row:
      return "";
    case Axis::k:
      return "k";
    case Axis::epsilon:
      return "epsilon";
    case Axis::threshold:
      return "threshold";
  }
  return "";
}

std::vector<RowField const*> recorded_fields(std::span<RowField const> fields) {
  std::vector<RowField const*> recorded;
  for (auto const axis : {Axis::k, Axis::epsilon, Axis::threshold, Axis::row}) {
    for (auto const& field : fields) {
      if (field.axis == axis && field.records == Records::recorded) recorded.push_back(&field);
    }
  }
  return recorded;
}

std::string fields_table(std::span<RowField const> fields) {
  std::string table = "| dataset | dimensions | units | recorded | content |\n| --- | --- | --- | --- | --- |\n";
  for (auto const& field : fields) {
    std::string const axis = name_of(field.axis), remark = field.remark;
    table += "| `" + std::string(field.name) + "` | draw, row" + (axis.empty() ? "" : ", " + axis) + " | " + field.units + " | " +
             (field.records == Records::recorded ? "yes" : "") + " | " + (field.number == Number::count ? "int64: " : "") +
             escaped(field.long_name) + (remark.empty() ? "" : "; " + remark);
    if (field.presence == Presence::by_thresholds) table += ". Only where some k is over `k_held`";
    if (field.presence == Presence::by_selector || field.presence == Presence::by_selector_order)
      table += ". Only of a selector other than `score`";
    if (field.presence == Presence::by_order || field.presence == Presence::by_selector_order)
      table += ". Not of one without an order (`vattention`, `magicpig`, `twilight`, `threshold`)";
    if (field.presence == Presence::by_estimator) table += ". Only of estimators (`random`, `vattention`, `magicpig`)";
    if (field.presence == Presence::of_tensors) table += ". Only of tensor files, with the selector `score`";
    if (field.presence == Presence::of_sinks) table += ". Only of heads that have one";
    if (field.presence == Presence::of_softcaps) table += ". Only of heads that have one";
    if (field.presence == Presence::output_error_of_file) table += ". Only of tensor files, with output errors on";
    if (field.presence == Presence::output_error) table += ". Only with output errors on";
    table += " |\n";
  }
  return table;
}

}  // namespace asymptop
