#include "precision/rounded_row.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "kernels/core/counts.hpp"

namespace asymptop {
namespace {

/// Entries that the audit makes again: this many, evenly spread, and the first.
constexpr std::int64_t audited_entries = 256;

/// Correct rounding as a person would do it: the significand scaled to an integer, rounded, scaled back.
long double nearest(long double x, NumberFormat format) {
  auto const limits = limits_of(format);
  if (x == 0.0L) return x;
  int exponent = 0;
  std::frexp(x, &exponent);  // |x| in [2^(exponent - 1), 2^exponent)
  int const last_place = std::max(exponent - 1, limits.lowest_exponent) - (limits.precision - 1);
  long double const y = std::ldexp(std::nearbyint(std::ldexp(x, -last_place)), last_place);
  if (std::fabs(y) <= limits.largest) return y;
  return std::copysign(limits.saturates ? limits.largest : INFINITY, x);
}

double worse(double worst, double residual) { return std::isnan(residual) ? INFINITY : std::max(worst, residual); }

}  // namespace

void PrecisionResiduals::note(PrecisionCheck check, double residual) { worst[check] = worse(worst[check], residual); }

void PrecisionResiduals::note(PrecisionResiduals const& others) {
  std::transform(worst.begin(), worst.end(), others.worst.begin(), worst.begin(), worse);
}

/// The exponential of entry i as the stages make it.
class RoundedRow::Exponential {
 public:
  Exponential(PrecisionSet const& set, double const* z, double sigma, double z_max)
      : logits_(set.logits), difference_(set.difference), exp_(set.exp), z_(z), sigma_(sigma), largest_(logits_(sigma * z_max)) {}

  double operator()(std::int64_t i) const { return exp_.of_magnitude(exp_fp64(difference_(logits_(sigma_ * z_[i]) - largest_))); }

 private:
  Rounding logits_, difference_, exp_;
  double const* z_;
  double sigma_, largest_;
};

RoundedRow::RoundedRow(std::vector<double> const& z, double sigma, PrecisionAxes const& axes, std::int64_t block)
    : z_(z), sigma_(sigma), axes_(axes), n_(std::ssize(z)), block_(block), z_max_(*std::max_element(z.begin(), z.end())), p_(z.size()) {
  PrecisionSet const fp64;
  double const normaliser = weigh(fp64);
  exact_ = p_;
  exact_largest_ = largest_entries(exact_.data(), n_, axes.k);
  for (auto const& largest : exact_largest_) exact_tail_.push_back(mass_beyond(largest, exact_.data()));
  reference_ = measure(fp64, normaliser);
}

PrecisionMetrics RoundedRow::evaluate(PrecisionSet const& set, PrecisionResiduals* checks) {
  double const normaliser = weigh(set);
  auto metrics = measure(set, normaliser);
  if (checks != nullptr) check(set, metrics, *checks);
  return metrics;
}

/// Fills p_ and returns Z.
double RoundedRow::weigh(PrecisionSet const& set) {
  Exponential const exponential(set, z_.data(), sigma_, z_max_);
  double* const e = p_.data();
#pragma omp simd
  for (std::int64_t i = 0; i < n_; ++i) e[i] = exponential(i);
  double const normaliser = rounded_sum(
      n_, [e](std::int64_t i) { return e[i]; }, Rounding(set.sum), set.order, block_);
  Rounding const round(set.p);
#pragma omp simd
  for (std::int64_t i = 0; i < n_; ++i) e[i] = round.of_magnitude(e[i] / normaliser);
  return normaliser;
}

double RoundedRow::mass_beyond(LargestEntries const& largest, double const* weights) const {
  double const* const p = p_.data();
  auto const selection = largest;
  return accurate_sum(n_, [=](std::int64_t i) { return selection.contains(p[i], i) ? 0.0 : weights[i]; });
}

PrecisionMetrics RoundedRow::measure(PrecisionSet const& set, double normaliser) const {
  PrecisionMetrics metrics;
  double const* const p = p_.data();
  metrics.normaliser = normaliser;
  metrics.sum_p = accurate_sum(n_, [p](std::int64_t i) { return p[i]; });
  metrics.sum_p_in_format = rounded_sum(
      n_, [p](std::int64_t i) { return p[i]; }, Rounding(set.sum), set.order, block_);
  metrics.p_max = *std::max_element(p_.begin(), p_.end());
  for (std::int64_t i = 0; i < n_; ++i) metrics.zeros += p[i] == 0.0 ? 1 : 0;
  for (auto const threshold : axes_.threshold) {
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n_; ++i) count += p[i] > threshold ? 1 : 0;
    metrics.count_p_above.push_back(count);
  }
  if (metrics.sum_p > 0.0) {
    metrics.participation_ratio = metrics.sum_p * metrics.sum_p / accurate_sum(n_, [p](std::int64_t i) { return p[i] * p[i]; });
    // Signs turned, so that all terms are of one sign: p <= 1.
    double const information = accurate_sum(n_, [p](std::int64_t i) { return -p[i] * log_fp64(p[i] > 0.0 ? p[i] : 1.0); });
    metrics.entropy_nats = std::log(metrics.sum_p) + information / metrics.sum_p;
  }
  if (!std::isfinite(metrics.sum_p)) {
    // Logits beyond the format's range: p that are no numbers have no order.
    metrics.tail_mass.assign(axes_.k.size(), NAN);
    metrics.missed_mass.assign(axes_.k.size(), NAN);
    return metrics;
  }
  auto const selections = largest_entries(p, n_, axes_.k);
  for (std::size_t j = 0; j < selections.size(); ++j) {
    metrics.tail_mass.push_back(metrics.sum_p > 0.0 ? mass_beyond(selections[j], p) / metrics.sum_p : 1.0);
    metrics.missed_mass.push_back(mass_beyond(selections[j], exact_.data()) - exact_tail_[j]);
  }
  return metrics;
}

void RoundedRow::check(PrecisionSet const& set, PrecisionMetrics const& metrics, PrecisionResiduals& checks) const {
  double const* const p = p_.data();
  checks.note(PrecisionCheck::sum_p, std::fabs(reference_.sum_p - 1.0));
  Rounding const round(set.p);
  double outside = 0.0;
  for (std::int64_t i = 0; i < n_; ++i) outside += round(p[i]) == p[i] ? 0.0 : 1.0;
  checks.note(PrecisionCheck::in_format, outside);
  std::vector<LargestEntries> selections;
  if (std::isfinite(metrics.sum_p)) selections = largest_entries(p, n_, axes_.k);
  for (std::size_t j = 0; j < selections.size(); ++j) {
    std::int64_t selected = 0;
    double head = 0.0;
    for (std::int64_t i = 0; i < n_; ++i) {
      if (!selections[j].contains(p[i], i)) continue;
      ++selected;
      head += p[i];
    }
    checks.note(PrecisionCheck::selected, std::fabs(selected - axes_.k[j]));
    if (metrics.sum_p > 0.0) checks.note(PrecisionCheck::head_and_tail, std::fabs(head / metrics.sum_p + metrics.tail_mass[j] - 1.0));
    checks.note(PrecisionCheck::missed, -metrics.missed_mass[j]);
  }
  checks.note(PrecisionCheck::sum_bound, sum_residual(set, metrics.normaliser));
  checks.note(PrecisionCheck::audit_stages, audit(set, metrics.normaliser));
  double bad = 0.0;
  for (auto const value : {metrics.sum_p, metrics.sum_p_in_format, metrics.entropy_nats, metrics.participation_ratio, metrics.p_max})
    bad += std::isfinite(value) ? 0.0 : 1.0;
  for (std::size_t j = 0; j < axes_.k.size(); ++j)
    bad += std::isfinite(metrics.tail_mass[j]) && std::isfinite(metrics.missed_mass[j]) ? 0.0 : 1.0;
  checks.note(PrecisionCheck::finite, bad);
}

double RoundedRow::sum_residual(PrecisionSet const& set, double normaliser) const {
  Exponential const exponential(set, z_.data(), sigma_, z_max_);
  Rounding const round(set.sum);
  double const terms = accurate_sum(n_, [=](std::int64_t i) { return round.of_magnitude(exponential(i)); });
  auto const limits = limits_of(set.sum);
  // Every addition errs by at most a factor of 1 +- u (Higham, Accuracy and Stability of Numerical Algorithms, chapter 4); those of
  // `terms` too.
  double const u = std::ldexp(1.0, -limits.precision), depth = exact_double(sum_depth(n_, set.order, block_));
  double const bound = std::expm1(depth * std::log1p(u)) + std::ldexp(64.0, -53);
  // No term is over 1: a sum of 2^precision loses all that is added one after another, in blocks from then on.
  double residual = set.order == SumOrder::sequential ? normaliser / std::ldexp(1.0, limits.precision) : 0.0;
  if (terms * (1.0 + bound) < limits.largest) residual = std::max(residual, std::fabs(normaliser / terms - 1.0) / bound);
  return residual;
}

double RoundedRow::audit(PrecisionSet const& set, double normaliser) const {
  auto const step = std::max<std::int64_t>(1, n_ / audited_entries);
  long double const largest = nearest(sigma_ * z_max_, set.logits);
  double entries = 0.0, wrong = 0.0;
  for (std::int64_t i = 0; i < n_; i += step, ++entries) {
    std::size_t const at = i;
    auto const difference = nearest(nearest(sigma_ * z_[at], set.logits) - largest, set.difference);
    auto const e = nearest(std::exp(difference), set.exp), p = nearest(e / normaliser, set.p);
    // What fp64 exponentials differ by. Below e^-700 they are 0.
    wrong += std::fabs(p - p_[at]) > 1e-14L * p + 1e-300L ? 1.0 : 0.0;
  }
  return wrong / entries;
}

}  // namespace asymptop
