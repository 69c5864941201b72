#include "row/row_owner.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "kernels/select/budgets.hpp"
#include "row/segment_sums.hpp"

namespace asymptop {
namespace {

double difference(double measured, double reference) {
  if (measured == reference) return 0.0;
  return std::fabs(measured - reference) / std::max(std::fabs(reference), 1e-290);
}

/// The same as distance(), of the entries over the largest of them.
double scaled_distance(double const* a, double scale_a, double const* b, double scale_b, std::size_t d) {
  auto const entry = [&](std::size_t c) { return a[c] * scale_a - b[c] * scale_b; };
  double sum = 0.0, largest = 0.0;
  for (std::size_t c = 0; c < d; ++c) largest = std::max(largest, std::fabs(entry(c)));
  for (std::size_t c = 0; c < d && largest > 0.0; ++c) sum += entry(c) / largest * (entry(c) / largest);
  return largest * std::sqrt(sum);
}

/// Norm of a - b over d entries, after scaling each.
double distance(double const* a, double scale_a, double const* b, double scale_b, std::size_t d) {
  double sum = 0.0;
  for (std::size_t c = 0; c < d; ++c) {
    double const x = a[c] * scale_a - b[c] * scale_b;
    sum += x * x;
  }
  return sum < small_square ? scaled_distance(a, scale_a, b, scale_b, d) : std::sqrt(sum);
}

double norm(double const* a, std::size_t d) { return distance(a, 1.0, a, 0.0, d); }

/// Norm of a scale_a - b scale_b + times offset.
double distance_with(std::vector<float> const& offset, double times, double const* a, double scale_a, double const* b, double scale_b) {
  std::vector<double> entries;
  for (std::size_t c = 0; c < offset.size(); ++c) entries.push_back(a[c] * scale_a - b[c] * scale_b + times * double{offset[c]});
  return norm(entries.data(), entries.size());
}

}  // namespace

namespace {

/// How far sums over segments may be off that are added up in multiples of a resolution: one for each key of the head, and for each strip
/// of keys of the tail; relative to the largest score.
class OutputRounding {
 public:
  OutputRounding(OwnedRow const& row, double sigma, double resolution) {
    constexpr std::int64_t strip = 64;
    std::int64_t before = 0;
    for (std::size_t g = 0; g < row.references.size(); ++g) {
      auto const additions = g < row.ranks.size() ? row.ranks[g] - before : (row.visible - before + strip - 1) / strip;
      sums_.push_back((sums_.empty() ? 0.0 : sums_.back()) +
                      resolution * exact_double(additions) * std::exp(sigma * (row.references[g] - double{row.score_max})));
      before += additions;
    }
  }
  double of_kept(std::size_t item) const { return sums_[item]; }

  /// Of the two means that an error is the difference of: by how much their normalised sums make it another one, and half an ulp of each.
  /// In a function of its own, so that the compiler fuses the products of the caller's checks as ever.
  struct Means {
    double const *dropped, *kept;  ///< sums, (d + 1)
    double of_head, tau;
    std::size_t d;
  };
  [[gnu::noinline]] static double of(Means const& m, double error, double of_offsets) {
    double const means = m.tau * distance(m.dropped, 1.0 / m.dropped[m.d], m.kept, 1.0 / m.of_head, m.d);
    double const scale = m.tau * (norm(m.dropped, m.d) / m.dropped[m.d] + norm(m.kept, m.d) / m.of_head);
    return std::fabs(error - means) + std::ldexp(scale + of_offsets, -25);
  }
  double of_dropped(std::size_t item) const { return sums_.back() - sums_[item]; }

 private:
  std::vector<double> sums_;  ///< over the segments so far
};

}  // namespace

OwnedRow own_row(int row, std::vector<Candidate> const& all, RowBins bins, MetricAxes const& axes, std::vector<double> const& thresholds,
                 KeyRun const& seen, bool keep, double sink) {
  auto const visible = seen.size();
  OwnedRow owned;
  if (keep) {
    owned.head = all;
    owned.beyond = beyond_head(all, bins, axes, visible);
  }
  std::vector<Candidate> shorter;  // what is evaluated does not depend on what else is kept
  if (axes.held < std::ssize(all) - 1) shorter.assign(all.begin(), all.begin() + axes.held + 1);
  auto const& head = shorter.empty() ? all : shorter;
  owned.row = row;
  owned.visible = visible;
  owned.from = seen.begin;
  owned.evaluation = evaluate_row(head, bins, axes, thresholds, visible, sink);
  owned.score_max = head.front().score;
  owned.head_lacks = std::max<std::int64_t>(0, std::min(axes.held, visible - 1) + 1 - std::ssize(head));
  for (auto const& segment : segments_of(axes.k, axes.held, visible)) {
    owned.references.push_back(head[segment.begin].score);
    owned.boundaries.push_back(head[segment.end - 1]);
    owned.ranks.push_back(segment.end);
  }
  std::size_t const begin = owned.ranks.back();
  float const edge = owned.boundaries.back().score;
  // Not the edge's own score: beside it the weights of a tail far below would vanish.
  owned.references.push_back(begin < head.size() ? head[begin].score : edge);
  for (std::size_t i = 0; i < begin; ++i) {
    owned.above_edge += head[i].score > edge ? 1 : 0;
    owned.equal_edge += head[i].score == edge ? 1 : 0;
  }
  owned.grid_only = {bins.grid, bins.first_bin, {}};
  return owned;
}

void output_errors(OwnedRow& row, std::size_t law, double sigma, std::vector<double> const& sums, std::size_t d,
                   std::vector<std::int64_t> const& ks, CheckResiduals& checks, ValueSums const& values) {
  auto& metrics = row.evaluation.laws[law];
  auto const segments = row.references.size(), width = d + 1;
  if (values.offset != nullptr && !values.offset->empty()) row.value_offset = values.offset;
  // What a sink leaves to keys may be no number of fp64: errors are 0 then, and relative ones those of the limit.
  bool const lost = std::isinf(metrics.z);
  double const z = lost ? 1.0 : metrics.z, top = row.score_max;
  // Prefix (head) and suffix (tail) sums over segments, relative to the largest score.
  std::vector<double> head((segments + 1) * width, 0.0), tail((segments + 1) * width, 0.0);
  auto const weight = [&](std::size_t g) { return std::exp(sigma * (row.references[g] - top)); };
  for (std::size_t g = 0; g < segments; ++g) {
    for (std::size_t c = 0; c < width; ++c) head[(g + 1) * width + c] = head[g * width + c] + weight(g) * sums[g * width + c];
  }
  for (std::size_t g = segments; g-- > 0;) {
    for (std::size_t c = 0; c < width; ++c) tail[g * width + c] = tail[(g + 1) * width + c] + weight(g) * sums[g * width + c];
  }
  double const* all = &tail[0];
  double const exact = norm(all, d) / z,
               whole = row.value_offset == nullptr ? exact : distance_with(*row.value_offset, all[d] / z, all, 1.0 / z, all, 0.0);
  OutputRounding const rounding(row, sigma, values.resolution * std::sqrt(d));
  if (!row.head.empty()) row.outputs.emplace_back(all, all + d);
  checks.note(Check::sum_p_direct, lost ? 0.0 : std::fabs((all[d] + metrics.sink) / z - 1.0));
  for (std::size_t i = 0; i < ks.size(); ++i) {
    if (ks[i] >= row.visible) {
      metrics.real("output_error").push_back(0.0);
      metrics.real("output_error_relative").push_back(0.0);
      if (values.of_file) metrics.real("output_error_rounding").push_back(0.0);
      continue;
    }
    double const* h = &head[(i + 1) * width];
    double const* t = &tail[(i + 1) * width];
    double const tau = metrics.real("tail_mass")[i], head_mass = (1.0 - tau) * z;
    double const less_offset = distance(t, 1.0 / z, h, tau / head_mass, d), of_offset = lost ? t[d] : tau * metrics.sink / head_mass;
    double const error = row.value_offset == nullptr || of_offset == 0.0
                             ? less_offset
                             : distance_with(*row.value_offset, of_offset, t, 1.0 / z, h, tau / head_mass);
    metrics.real("output_error").push_back(lost ? 0.0 : error);
    metrics.real("output_error_relative").push_back(error == 0.0 ? 0.0 : error / whole);  // values may all be zero
    // The identity, with means taken over the directly summed weights.
    double const of_head = h[d] + metrics.sink;  // the sink is kept, with a value of zero
    double const means = tau * distance(t, 1.0 / t[d], h, 1.0 / of_head, d);
    double const direct = distance(all, 1.0 / z, h, 1.0 / head_mass, d);
    // Both sides are differences of vectors: rounding is relative to the vectors, not to their difference.
    double const scale = tau * (norm(t, d) / t[d] + norm(h, d) / of_head);
    if (scale > 1e-9 * exact) checks.note(Check::identity_output, std::max(0.0, std::fabs(direct - means) - 1e-13 * exact) / scale);
    if (!values.of_file) continue;
    // Weights beside the largest one that come near fp64's end have lost digits there: errors as small as that are none.
    constexpr double least_weight = 0x1p-960;
    if (lost || t[d] < least_weight) {
      metrics.real("output_error_rounding").push_back(0.0);
      continue;
    }
    double const of_offsets = row.value_offset == nullptr ? 0.0 : distance_with(*row.value_offset, of_offset, t, 0.0, t, 0.0);
    double const rounded =
        rounding.of({t, h, of_head, tau, d}, less_offset, of_offsets) + rounding.of_kept(i) * tau / head_mass + rounding.of_dropped(i) / z;
    metrics.real("output_error_rounding").push_back(rounded);
  }
}

void audit_row(OwnedRow const& row, std::size_t law, double sigma, std::vector<double> const& sums, std::vector<std::int64_t> const& ks,
               CheckResiduals& checks) {
  auto const& metrics = row.evaluation.laws[law];
  auto const segments = row.references.size();
  double const top = row.score_max;
  std::vector<double> head1(segments + 1, 0.0), head2(segments + 1, 0.0), tail1(segments + 1, 0.0), tail2(segments + 1, 0.0);
  std::vector<double> z1(segments), z2(segments);
  double h = 0.0, keys = 0.0;
  head1[0] = metrics.sink;
  std::int64_t previous = 0;
  for (std::size_t g = 0; g < segments; ++g) {
    double const y = sigma * (row.references[g] - top), weight = std::exp(y);
    z1[g] = weight * sums[g * 4];
    z2[g] = weight * weight * sums[g * 4 + 1];
    h += weight * (sums[g * 4 + 2] + y * sums[g * 4]);
    head1[g + 1] = head1[g] + z1[g];
    head2[g + 1] = head2[g] + z2[g];
    double const expected = exact_double((g < row.ranks.size() ? row.ranks[g] : row.visible) - previous);
    checks.note(Check::top_k_count, std::fabs(sums[g * 4 + 3] - expected));
    previous = g < row.ranks.size() ? row.ranks[g] : previous;
    keys += sums[g * 4 + 3];
  }
  for (std::size_t g = segments; g-- > 0;) {
    tail1[g] = tail1[g + 1] + z1[g];
    tail2[g] = tail2[g + 1] + z2[g];
  }
  checks.note(Check::keys_seen, std::fabs(keys - exact_double(row.visible)));
  double const of_keys = tail1[0], z = of_keys + metrics.sink;
  auto const compare = [&](double measured, double reference) { checks.note(Check::audit_metrics, difference(measured, reference)); };
  // Entropy is near zero for a collapsed row: its error is relative to max(entropy, 1).
  double const entropy = std::log(of_keys) - h / of_keys;
  checks.note(Check::audit_metrics, std::fabs(metrics.one("entropy_nats") - entropy) / std::max(entropy, 1.0));
  compare(metrics.one("sum_p_squared"), over_square(tail2[0], z));
  compare(metrics.one("p_max"), z1[0] / z);
  checks.note(Check::audit_metrics, std::fabs(metrics.one("log_sum_exp") - (sigma * top + log_denominator(metrics, z))) /
                                        std::max(1.0, std::fabs(metrics.one("log_sum_exp"))));
  for (std::size_t i = 0; i < ks.size() && i + 1 < segments; ++i) {
    if (ks[i] >= row.visible) break;
    compare(metrics.real("tail_mass")[i], tail1[i + 1] / z);
    // Relative to the largest dropped key, so that no square underflows.
    double const unit = sigma * (row.references[i + 1] - top), weight = std::exp(unit);
    if (weight == 0.0) continue;
    double square = 0.0;
    for (std::size_t g = segments; g-- > i + 1;) {
      double const relative = std::exp(sigma * (row.references[g] - top) - unit);
      square += relative * relative * sums[g * 4 + 1];
    }
    double const ratio = tail1[i + 1] / head1[i + 1] / weight;
    compare(metrics.real("row_l2_error")[i], weight * std::sqrt(ratio * ratio * head2[i + 1] + square) / z);
  }
}

}  // namespace asymptop
