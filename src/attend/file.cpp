#include "attend/file.hpp"

#include <algorithm>
#include <cmath>

#include "attend/quantities.hpp"
#include "comm/sample_statistics.hpp"
#include "h5/h5.hpp"

namespace asymptop {
namespace {

/// Values of all draws, one after another.
template <class Get>
auto of_draws(MeasuredAttention const& c, Get const& get) {
  std::vector<std::decay_t<decltype(get(c.draws.front())[0])>> all;
  for (auto const& draw : c.draws) {
    auto const values = get(draw);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

void write_times(hid_t group, MeasuredAttention const& c) {
  h5::Dimension const draw{"draw", c.draws.size()};
  auto const per_draw = [&](char const* name, double AttendDraw::*member, char const* units, char const* long_name) {
    h5::write_dataset(group, name, {draw}, of_draws(c, [&](AttendDraw const& d) { return std::vector{d.*member}; }), units, long_name);
  };
  per_draw("exact_seconds", &AttendDraw::exact_seconds, "s", "exact attention of all rows, slowest rank; 0 when not measured");
  per_draw("top_k_seconds", &AttendDraw::top_k_seconds, "s", "top-k attention of all rows and every k, slowest rank; 0 when not measured");
  per_draw("bytes_sent", &AttendDraw::bytes_sent, "bytes", "keys and values sent by all ranks");
  h5::write_scale(group, "phase", std::vector<std::string>(attend_phase_names.begin(), attend_phase_names.end()), "phase of a draw");
  auto const seconds = of_draws(c, [](AttendDraw const& d) { return d.phase_seconds; });
  h5::write_dataset(group, "phase_seconds", {draw, {"phase", attend_phase_names.size()}}, seconds, "s", "wall time of the slowest rank");
}

void write_norms(hid_t group, MeasuredAttention const& c) {
  std::vector<h5::Dimension> const shape{{"draw", c.draws.size()}, {"k", c.item.k.size()}};
  auto const put = [&](char const* name, auto const& get, char const* units, char const* long_name) {
    auto const values = of_draws(c, [&](AttendDraw const& d) {
      std::vector<std::decay_t<decltype(get(d.norms[0]))>> of_k;
      for (auto const& norms : d.norms) of_k.push_back(get(norms));
      return of_k;
    });
    h5::write_dataset(group, name, shape, values, units, long_name);
  };
  double const n = c.item.rows();
  put(
      "spectral_error", [n](DifferenceNorms const& x) { return x.spectral / n; }, "1",
      "spectral norm of the difference of attention matrices over n: a lower bound by power iteration");
  put(
      "frobenius_error", [n](DifferenceNorms const& x) { return x.frobenius / n; }, "1", "its Frobenius norm over n");
  put(
      "largest_row_error", [n](DifferenceNorms const& x) { return x.largest_row / n; }, "1", "largest 2-norm of a row of it, over n");
  put(
      "spectral_iterations", [](DifferenceNorms const& x) { return x.iterations; }, "1", "steps of the power iteration");
  put(
      "spectral_converged", [](DifferenceNorms const& x) { return std::int64_t{x.converged ? 1 : 0}; }, "1",
      "whether the last step changed the spectral norm by less than 1e-6 of it");
  put(
      "spectral_residual", [](DifferenceNorms const& x) { return x.residual; }, "1",
      "2-norm of D^T D x - s^2 x over s^2, for the last unit vector x and s = ‖D x‖");
}

void write_data(hid_t group, MeasuredAttention const& c) {
  std::vector<std::int64_t> draws;
  for (std::size_t i = 0; i < c.draws.size(); ++i) draws.push_back(i);
  h5::write_scale(group, "draw", draws, "1", "independent draw of queries, keys and values");
  write_times(group, c);
  write_checks(group, c.residuals(), "", "draws");
  if (c.item.k.empty()) return;
  h5::write_scale(group, "k", c.item.k, "keys", "keys kept by top-k attention");
  h5::write_scale(group, "k_law", c.item.k_law, "law of k in n");
  h5::write_dataset(group, "k_of_law", {{"k_law", c.item.k_law.size()}}, c.item.k_of_law, "keys",
                    "k of each law at n, rounded and clipped to n");
  if (!c.draws.front().output_error.empty())
    h5::write_dataset(group, "output_error_relative", {{"draw", draws.size()}, {"k", c.item.k.size()}},
                      of_draws(c, [](AttendDraw const& d) { return d.output_error; }), "1",
                      "2-norm of the difference of outputs over that of the exact one, mean over rows");
  if (!c.draws.front().norms.empty()) write_norms(group, c);
}

double rate(MeasuredAttention const& c, double flops, double AttendDraw::*seconds) {
  std::vector<double> rates;
  for (auto const& draw : c.draws) rates.push_back(flops / (draw.*seconds) / 1e9);
  double const median = sample_statistics(rates).median;
  return std::isfinite(median) ? median : NAN;
}

}  // namespace

std::vector<Residual> MeasuredAttention::residuals() const {
  auto all = draws.front().residuals;
  for (auto const& draw : draws) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto const& other = draw.residuals[i];
      if (other.worst - other.tolerance > all[i].worst - all[i].tolerance) all[i] = other;
    }
  }
  return all;
}

double MeasuredAttention::exact_gflops() const { return rate(*this, item.exact_flops(), &AttendDraw::exact_seconds); }
double MeasuredAttention::top_k_gflops() const { return rate(*this, item.top_k_flops(), &AttendDraw::top_k_seconds); }

void write_attend_file(std::string const& output, Provenance const& provenance, std::vector<MeasuredAttention> const& cases) {
  write_cases(output, provenance, cases, [](hid_t group, MeasuredAttention const& c) {
    write_attributes(group, attend_quantities(c), c);
    write_data(group, c);
  });
}

}  // namespace asymptop
