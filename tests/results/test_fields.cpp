// The table of row fields: one line more is all that packing, datasets, records and the readers' page need; and the page is the table's.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "h5/h5.hpp"
#include "row/fields.hpp"
#include "row/packed_rows.hpp"
#include "row/row_metrics.hpp"
#include "study/files/case_file.hpp"
#include "study/files/records.hpp"

namespace asymptop {
namespace {

/// The program's fields and one more.
std::vector<RowField> with_one_more() {
  std::vector<RowField> fields(row_fields.begin(), row_fields.end());
  fields.push_back(
      {"novelty", Axis::k, Number::real, Source::logits, Presence::always, Records::recorded, "1", "tail mass over the least"});
  return fields;
}

/// Rows whose numbers are all different.
FieldValues rows_of(std::span<RowField const> fields, FieldAxes const& axes, std::size_t rows) {
  FieldValues values(fields);
  int next = 1;
  values.each(axes, [&](RowField const& field, auto& list) {
    for (std::size_t i = 0; i < rows * axes.length(field.axis); ++i) list.push_back(next++);
  });
  return values;
}

std::vector<double> numbers_of(FieldValues const& values, FieldAxes const& axes, std::string const& name) {
  std::vector<double> numbers;
  values.each(axes, [&](RowField const& field, auto const& list) {
    if (field.name == name) numbers.assign(list.begin(), list.end());
  });
  return numbers;
}

constexpr FieldAxes axes{.k = 3, .epsilon = 2, .thresholds = 1};

TEST(Fields, NamesAreDifferent) {
  for (auto const& a : row_fields) {
    for (auto const& b : row_fields) EXPECT_TRUE(&a == &b || std::string(a.name) != b.name) << a.name;
  }
}

TEST(Fields, OneMoreIsPacked) {
  auto const fields = with_one_more();
  EXPECT_EQ(numbers_per_row(axes, fields), numbers_per_row(axes) + 3);
  auto const row = rows_of(fields, axes, 1);
  std::vector<double> packed;
  pack_row(row, axes, packed);
  pack_row(row, axes, packed);
  ASSERT_EQ(packed.size(), 2 * numbers_per_row(axes, fields));
  FieldValues data(fields);
  EXPECT_EQ(unpack_rows(packed, 2, axes, 1000, data), 0);
  auto const one = numbers_of(row, axes, "novelty"), two = numbers_of(data, axes, "novelty");
  ASSERT_EQ(two.size(), 6u);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(two[i], one[i % 3]);
  auto all = data;
  all.append(data);
  EXPECT_EQ(numbers_of(all, axes, "novelty").size(), 12u);
  packed.back() = NAN;
  EXPECT_EQ(unpack_rows(packed, 2, axes, 1000, data), 0 + 1);
}

// Otherwise its place would be taken by the numbers after it.
TEST(Fields, AFieldThatNoFormulaFillsIsRefused) {
  for (auto const& field : row_fields) {
    auto row = rows_of(row_fields, axes, 1);
    row.each(axes, [&](RowField const& other, auto& values) {
      if (&other == &field) values.pop_back();
    });
    std::vector<double> packed;
    bool const packs = field.source == Source::logits && axes.has(field);
    try {
      pack_row(row, axes, packed);
      EXPECT_FALSE(packs) << field.name;
    } catch (std::logic_error const& refused) {
      EXPECT_TRUE(packs && std::string(refused.what()).starts_with(field.name)) << field.name << ": " << refused.what();
    }
  }
  // One of the row itself is there, and no number.
  RowMetrics().each(axes, [](RowField const& field, auto const& values) {
    if (field.number == Number::real && !values.empty()) {
      EXPECT_TRUE(std::isnan(values.front())) << field.name;
    }
  });
}

TEST(Fields, CountsAreAtMostN) {
  auto const row = rows_of(row_fields, axes, 1);
  std::vector<double> packed;
  pack_row(row, axes, packed);
  FieldValues data;
  unpack_rows(packed, 1, axes, 1, data);
  EXPECT_EQ(data.count("k_epsilon"), (std::vector<std::int64_t>{1, 1}));
}

TEST(Fields, WhatIsNotMeasuredIsNotThere) {
  FieldAxes all = axes;
  all.output_error = all.by_thresholds = true;
  EXPECT_EQ(numbers_per_row(all), numbers_per_row(axes) + 4 * 3);
  FieldValues data;
  std::vector<double> packed(numbers_per_row(axes), 1.0);
  unpack_rows(packed, 1, axes, 1, data);
  EXPECT_TRUE(data.real("output_error").empty());
  EXPECT_TRUE(data.count("k_counted").empty());
  EXPECT_EQ(data.real("tail_mass").size(), 3u);
}

TEST(Fields, OneMoreIsADataset) {
  auto const fields = with_one_more();
  auto const file = h5::create_file_in_memory("fields.h5");
  auto const group = h5::create_group(file, "case");
  auto const scale = [&](char const* name, std::size_t length) {
    h5::write_scale(group, name, std::vector<std::int64_t>(length, 1), "1", "of a test");
    return h5::Dimension{name, length};
  };
  auto const draw = scale("draw", 2), row = scale("row", 5);
  scale("k", axes.k), scale("epsilon", axes.epsilon), scale("threshold", axes.thresholds);
  write_fields(group, rows_of(fields, axes, 10), axes, draw, row);
  for (auto const& field : fields) EXPECT_EQ(h5::has_link(group, field.name), axes.has(field)) << field.name;
  EXPECT_EQ(h5::read_dataset(group, "novelty").shape, (std::vector<hsize_t>{2, 5, 3}));
  EXPECT_EQ(h5::read_dataset(group, "p_max").shape, (std::vector<hsize_t>{2, 5}));
}

TEST(Fields, OneMoreIsRecorded) {
  std::vector<Place> const of_k{{"4", "4", 0}, {"16", "n^0.5", 2}}, of_epsilon{{"0.1", "", 0}, {"0.01", "", 1}},
      of_threshold{{"1/n", "", 0}};
  auto const metrics_of = [&](std::span<RowField const> fields) {
    std::string metrics;
    for (auto const& record : field_records(rows_of(fields, axes, 4), axes, 2, of_k, of_epsilon, of_threshold))
      metrics += record.metric + (record.parameter.empty() ? "" : "(" + record.parameter + ")") + " ";
    return metrics;
  };
  auto metrics = metrics_of(with_one_more());
  std::string const one_more = "novelty(4) novelty(16) ";
  auto const at = metrics.find(one_more);
  ASSERT_NE(at, std::string::npos) << metrics;
  EXPECT_EQ(metrics.erase(at, one_more.size()), metrics_of(row_fields));
  EXPECT_EQ(metrics.rfind("tail_mass(4) tail_mass(16) row_l2_error(4) row_l2_error(16) ", 0), 0u) << metrics;
}

TEST(Fields, OneMoreIsInTheReadersTable) {
  EXPECT_NE(fields_table(with_one_more()).find("| `novelty` | draw, row, k | 1 | yes | tail mass over the least |\n"), std::string::npos);
  EXPECT_EQ(fields_table().find("novelty"), std::string::npos);
}

TEST(Fields, TheReadersTableIsThisOne) {
  std::ifstream in(RESULTS_PAGE);
  std::stringstream page;
  page << in.rdbuf();
  EXPECT_NE(page.str().find(fields_table()), std::string::npos) << "src/results/README.md is to hold:\n" << fields_table();
}

}  // namespace
}  // namespace asymptop
