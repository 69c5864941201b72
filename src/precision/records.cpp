#include "results/records.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "config/number_text.hpp"
#include "precision/file.hpp"
#include "results/json_text.hpp"
#include "results/quantities.hpp"
#include "results/text_table.hpp"
#include "row/estimate.hpp"

namespace asymptop {
namespace {

using Json = nlohmann::ordered_json;

/// A metric of one set at one parameter, row by row, and the same of fp64.
struct Column {
  std::vector<double> values, reference;  ///< (draw, row)
};

/// values: (draw, row, set, width).
template <class T>
Column column_of(std::vector<T> const& values, std::size_t sets, std::size_t set, std::size_t width, std::size_t at) {
  Column column;
  for (std::size_t row = 0; row < values.size(); row += sets * width) {
    column.values.push_back(static_cast<double>(values[row + set * width + at]));
    column.reference.push_back(static_cast<double>(values[row + at]));
  }
  return column;
}

/// Mean over rows of a set's value less fp64's of the same row.
Estimate paired_difference(Column const& column, std::size_t draws) {
  auto difference = column.values;
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= column.reference[i];
  return estimate(difference, draws, 1, 0);
}

class PrecisionRecords {
 public:
  explicit PrecisionRecords(MeasuredPrecision const& c) : c_(c), draws_(c.item.draws) {}

  template <class T>
  void per_row(char const* metric, std::vector<T> const& values) {
    for (std::size_t set = 0; set < sets(); ++set) add(metric, "", "", set, column_of(values, sets(), set, 1, 0));
  }
  void per_k(char const* metric, std::vector<double> const& values) {
    for (std::size_t set = 0; set < sets(); ++set) {
      for (std::size_t law = 0; law < c_.item.k_law.size(); ++law) {
        auto const k = c_.item.k_of_law[law];
        std::size_t const at = std::lower_bound(c_.item.k.begin(), c_.item.k.end(), k) - c_.item.k.begin();
        add(metric, std::to_string(k), c_.item.k_law[law], set, column_of(values, sets(), set, c_.item.k.size(), at));
      }
    }
  }
  void per_threshold(char const* metric, std::vector<std::int64_t> const& values) {
    auto const& laws = c_.config->count_above;
    for (std::size_t set = 0; set < sets(); ++set) {
      for (std::size_t at = 0; at < laws.size(); ++at)
        add(metric, parameter_text(laws[at].text()), "", set, column_of(values, sets(), set, laws.size(), at));
    }
  }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  std::size_t sets() const { return c_.config->precision.size(); }

  void add(std::string const& metric, std::string const& parameter, std::string const& k_law, std::size_t set, Column const& column) {
    line(metric, parameter, k_law, set, estimate(column.values, draws_, 1, 0));
    if (set > 0) line(metric + "_difference", parameter, k_law, set, paired_difference(column, draws_));
  }

  void line(std::string const& metric, std::string const& parameter, std::string const& k_law, std::size_t set, Estimate const& value) {
    auto const& arithmetic = c_.config->precision[set];
    Json json;
    json["n"] = c_.item.n;
    json["d"] = nullptr;
    if (auto const& of = c_.item.captured) {
      json["d"] = of->layer.d;
      if (of->layer.layer >= 0) json["layer"] = of->layer.layer;
      json["head"] = of->head;
    }
    json["sigma_law"] = c_.item.sigma_law;
    json["sigma"] = c_.item.sigma;
    json["precision"] = arithmetic.text;
    json["order"] = name_of(arithmetic.order);
    add_estimate(json, metric, parameter, k_law, value);
    json["rows"] = c_.item.rows * c_.item.draws;
    json["draws"] = c_.item.draws;
    json["verdict"] = c_.verdict();
    lines_.push_back(json_text(json));
  }

  MeasuredPrecision const& c_;
  std::size_t draws_;
  std::vector<std::string> lines_;
};

TextTable const& precision_columns() {
  static TextTable const columns({{"n", 12},
                                  {"sigma law or head", -18, true},
                                  {"precision", -24, true},
                                  {"order", -10},
                                  {"sum p", 11},
                                  {"in format", 11},
                                  {"part. ratio", 11},
                                  {"tail mass", 11},
                                  {"missed", 11},
                                  {"zeros/n", 11},
                                  {"verdict", -7, false, 2}},
                                 {"part. ratio", "missed", "order", "tail mass", "in format", "sigma law or head"});
  return columns;
}

}  // namespace

std::vector<std::string> precision_records(MeasuredPrecision const& c) {
  PrecisionRecords records(c);
  records.per_row("sum_p", c.data.sum_p);
  records.per_row("sum_p_in_format", c.data.sum_p_in_format);
  records.per_row("normaliser", c.data.normaliser);
  records.per_k("tail_mass", c.data.tail_mass);
  records.per_k("missed_mass", c.data.missed_mass);
  records.per_row("participation_ratio", c.data.participation_ratio);
  records.per_row("entropy_nats", c.data.entropy_nats);
  records.per_threshold("count_p_above", c.data.count_p_above);
  records.per_row("p_max", c.data.p_max);
  records.per_row("zeros", c.data.zeros);
  return records.take();
}

std::string precision_table_heading() { return precision_columns().heading(); }

std::string precision_table_rows(MeasuredPrecision const& c) {
  std::string rows;
  std::size_t const sets = c.config->precision.size(), draws = c.item.draws, width = c.item.k.size();
  for (std::size_t set = 0; set < sets; ++set) {
    auto const mean = [&](auto const& values, std::size_t columns, std::size_t at) {
      return estimate(column_of(values, sets, set, columns, at).values, draws, 1, 0).mean;
    };
    // Of the k laws, the last one's.
    std::size_t const at = std::lower_bound(c.item.k.begin(), c.item.k.end(), c.item.k_of_law.back()) - c.item.k.begin();
    auto const& arithmetic = c.config->precision[set];
    // What a format has made of a sum may be infinite or no number: it is shown as it is.
    auto const shown = [&](auto const& values, std::size_t columns, std::size_t column) {
      return formatted("%.4g", mean(values, columns, column));
    };
    rows += precision_columns().row(
        {std::to_string(c.item.n), source_of(c.item), arithmetic.text, name_of(arithmetic.order), shown(c.data.sum_p, 1, 0),
         shown(c.data.sum_p_in_format, 1, 0), shown(c.data.participation_ratio, 1, 0), shown(c.data.tail_mass, width, at),
         shown(c.data.missed_mass, width, at), digits(mean(c.data.zeros, 1, 0) / exact_double(c.item.n)), c.verdict()});
  }
  if (!c.verdict_reason().empty()) rows += "  INVALID: " + c.verdict_reason() + "\n";
  return rows;
}

}  // namespace asymptop
