#include "precision/precision_rows.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>

namespace asymptop {
namespace {

constexpr std::int64_t checked_rows_per_draw = 2;
constexpr double two_pi = 6.283185307179586477;

/// Calls one of two functions for every number of a row's metrics, with the member of the data that it belongs to.
template <class Metrics, class Number, class Count>
void visit_fields(Metrics& metrics, Number const& number, Count const& count) {
  number(metrics.normaliser, &PrecisionData::normaliser);
  number(metrics.sum_p, &PrecisionData::sum_p);
  number(metrics.sum_p_in_format, &PrecisionData::sum_p_in_format);
  number(metrics.entropy_nats, &PrecisionData::entropy_nats);
  number(metrics.participation_ratio, &PrecisionData::participation_ratio);
  number(metrics.p_max, &PrecisionData::p_max);
  count(metrics.zeros, &PrecisionData::zeros);
  for (auto& value : metrics.count_p_above) count(value, &PrecisionData::count_p_above);
  for (auto& value : metrics.tail_mass) number(value, &PrecisionData::tail_mass);
  for (auto& value : metrics.missed_mass) number(value, &PrecisionData::missed_mass);
}

struct MeasuredRow {
  std::vector<PrecisionMetrics> sets;
  PrecisionResiduals checks;
};

/// z: logits over item.sigma.
MeasuredRow measure_row(PrecisionConfig const& config, PrecisionCase const& item, std::vector<double> const& z, std::int64_t row) {
  PrecisionAxes const axes{item.k, item.threshold};
  RoundedRow rounded(z, item.sigma, axes, config.block);
  MeasuredRow measured;
  for (std::size_t i = 0; i < config.precision.size(); ++i) {
    auto* const checks = row < checked_rows_per_draw ? &measured.checks : nullptr;
    measured.sets.push_back(i == 0 && checks == nullptr ? rounded.reference() : rounded.evaluate(config.precision[i], checks));
  }
  return measured;
}

std::vector<double> drawn_row(PrecisionConfig const& config, PrecisionCase const& item, std::int64_t draw, std::int64_t row) {
  // Rows of `simulate` have a d from 1.
  RowStream stream({config.seed, item.n, 0, draw, row});
  std::vector<double> z(item.n);
  draw_normals(stream, z);
  return z;
}

double deviation(std::vector<double> const& values) {
  double const n = int_size(values);
  double mean = 0.0, square = 0.0;
  for (double const x : values) mean += x / n;
  for (double const x : values) square += (x - mean) * (x - mean) / n;
  return std::sqrt(square);
}

}  // namespace

void draw_normals(RowStream& stream, std::vector<double>& z) {
  for (std::size_t i = 0; i < z.size(); i += 2) {
    double const radius = std::sqrt(-2.0 * std::log(stream.uniform())), angle = two_pi * stream.uniform();
    z[i] = radius * std::cos(angle);
    if (i + 1 < z.size()) z[i + 1] = radius * std::sin(angle);
  }
}

void measure_precision(Communicator const& comm, PrecisionConfig const& config, PrecisionCase const& item, TensorFile const* file,
                       std::int64_t first, std::int64_t end, PrecisionData& data, PrecisionResiduals& checks) {
  // Rows in the order of (draw, row), cut into one run of neighbours per rank.
  std::int64_t const all = (end - first) * item.rows, begin = all * comm.rank() / comm.size(),
                     mine = all * (comm.rank() + 1) / comm.size() - begin;
  std::vector<MeasuredRow> rows(mine);
  std::vector<std::vector<double>> logits;
  if (item.captured)
    logits = captured_logits(*file, *item.captured, item.rows, first * item.rows + begin, first * item.rows + begin + mine);
  std::vector<double> sigma_i;
  for (auto const& row : logits) sigma_i.push_back(deviation(row));
  sigma_i = comm.gather(sigma_i);
  data.sigma_i.insert(data.sigma_i.end(), sigma_i.begin(), sigma_i.end());
  using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace, Kokkos::Schedule<Kokkos::Dynamic>, Kokkos::IndexType<std::int64_t>>;
  Kokkos::parallel_for("Asymptop::measure::precision", Policy(0, mine, Kokkos::ChunkSize(1)), [&](std::int64_t i) {
    auto const draw = first + (begin + i) / item.rows, row = (begin + i) % item.rows;
    rows[i] = measure_row(config, item, item.captured ? logits[i] : drawn_row(config, item, draw, row), row);
  });
  Kokkos::DefaultHostExecutionSpace().fence();

  std::vector<double> packed;
  for (auto const& row : rows) {
    checks.note(row.checks);
    auto const pack = [&](auto value, auto) { packed.push_back(static_cast<double>(value)); };
    for (auto const& metrics : row.sets) visit_fields(metrics, pack, pack);
  }
  std::vector<double> worst(checks.worst.begin(), checks.worst.end());
  comm.max(worst);
  std::copy(worst.begin(), worst.end(), checks.worst.begin());

  packed = comm.gather(packed);
  PrecisionMetrics shape;
  shape.count_p_above.resize(item.threshold.size());
  shape.tail_mass.resize(item.k.size());
  shape.missed_mass.resize(item.k.size());
  for (std::size_t at = 0; at < packed.size();) {
    visit_fields(
        shape, [&](double, auto member) { (data.*member).push_back(packed[at++]); },
        [&](std::int64_t, auto member) { (data.*member).push_back(std::llround(packed[at++])); });
  }
}

}  // namespace asymptop
