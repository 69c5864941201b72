#include "study/simulate/simulation.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>

#include "row/packed_rows.hpp"
#include "study/simulate/simulated_row.hpp"

namespace asymptop {
namespace {

/// A row under every sigma of the group.
struct SimulatedRow {
  std::vector<RowMetrics> laws;
  std::vector<CheckResiduals> checks;
};

constexpr std::int64_t checked_rows_per_draw = 2;

SimulatedRow simulate_row(RunConfig const& config, GroupPlan const& group, DrawnRanks const& ranks, std::int64_t draw, std::int64_t row) {
  RowStream stream({config.seed, group.n, group.d, draw, row});
  auto const statistics = draw_order_statistics(ranks, stream);
  MetricAxes const axes{group.k, {}, config.epsilon};
  SimulatedRow result;
  result.checks.resize(group.cases.size());
  for (std::size_t law = 0; law < group.cases.size(); ++law) {
    double const sigma = group.cases[law].sigma;
    result.laws.push_back(evaluate_simulated_row(statistics, ranks, sigma, axes, group.threshold));
    if (row >= checked_rows_per_draw) continue;
    check_simulated_row(statistics, ranks, sigma, axes, result.laws.back(), result.checks[law]);
    result.checks[law].note(Check::audit_metrics, quadrature_residual(statistics, ranks, sigma));
  }
  return result;
}

}  // namespace

DrawResult simulate_draws(Communicator const& comm, RunConfig const& config, GroupPlan const& group, DrawnRanks const& ranks,
                          std::int64_t first, std::int64_t end) {
  // Rows in the order of (draw, row), cut into one run of neighbours per rank.
  std::int64_t const all = (end - first) * config.rows, begin = all * comm.rank() / comm.size(),
                     mine = all * (comm.rank() + 1) / comm.size() - begin;
  std::vector<SimulatedRow> rows(mine);
  using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace, Kokkos::Schedule<Kokkos::Dynamic>, Kokkos::IndexType<std::int64_t>>;
  Kokkos::parallel_for("Asymptop::measure::simulate", Policy(0, mine), [&](std::int64_t i) {
    auto const at = begin + i;
    rows[i] = simulate_row(config, group, ranks, first + at / config.rows, at % config.rows);
  });
  Kokkos::DefaultHostExecutionSpace().fence();

  auto const axes = field_axes(group, config, group.cases.front());
  DrawResult result;
  result.cases.resize(group.cases.size());
  result.checks.resize(group.cases.size());
  for (std::size_t law = 0; law < group.cases.size(); ++law) {
    auto& data = result.cases[law];
    auto& checks = result.checks[law];
    std::vector<RowMetrics> of_law;
    for (auto& row : rows) {
      of_law.push_back(std::move(row.laws[law]));
      checks.note(row.checks[law]);
    }
    auto const packed = comm.gather(pack_rows(of_law, axes));
    if (comm.is_root()) {
      std::size_t const count = all;
      checks.count(Check::finite, unpack_rows(packed, count, axes, group.n, data));
      data.count("row_n").assign(count, group.n);
      data.count("row_position").assign(count, -1);
      data.real("sigma_i").assign(count, group.cases[law].sigma);
    }
    std::vector<double> worst(checks.worst.begin(), checks.worst.end());
    comm.max(worst);
    std::copy(worst.begin(), worst.end(), checks.worst.begin());
  }
  return result;
}

}  // namespace asymptop
