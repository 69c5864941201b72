#include "study/files/study_case.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

#include "row/residual.hpp"

namespace asymptop {

void StudyCase::keep_draws(std::int64_t count) {
  std::size_t const had = draws(), kept = count;
  if (had == 0) return;
  data.each(axes(), [&](RowField const&, auto& values) { values.resize(values.size() / had * kept); });
  phase_seconds.resize(kept);
}

double StudyCase::pass_seconds() const {
  double seconds = 0.0;
  for (auto const& draw : phase_seconds) seconds += draw[static_cast<std::size_t>(Phase::first_pass)];
  return seconds;
}

double StudyCase::score_flops() const {
  if (group->simulated) return 0.0;
  return 2.0 * exact_double(draws() * group->counts.rows) * group->keys() * group->d;
}

double StudyCase::largest_logit() const {
  // Simulated rows have no keys, and none of their draws says what was multiplied.
  return group->simulated || checks.largest_logit == 0.0 ? largest_of_file() : checks.largest_logit;
}

double StudyCase::largest_of_file() const {
  double largest = 0.0;
  for (std::size_t i = 0; i < data.real("logit_max").size(); ++i)
    largest = std::max({largest, std::fabs(data.real("logit_max")[i]), std::fabs(data.real("logit_mean")[i])});
  return largest;
}

StudyCase::Tolerances StudyCase::tolerances() const { return check_tolerances(group->d, largest_logit(), checks.bin_width); }

std::string StudyCase::rounding_advice() const {
  std::ostringstream advice;
  advice.precision(3);
  advice << "; fp32 keeps too few digits of these products of Q and K (logits up to " << largest_logit() << "): ";
  if (group->form.softcap > 0.0) return advice.str() + "under a softcap no vector that all keys share can be taken from them";
  advice << (group->head < 0 ? "make sigma smaller" : "take from all keys the vector that they share, if they do, or make Q or K smaller");
  return advice.str();
}

std::string StudyCase::output_advice() const {
  return "; fp32 keeps too few digits of the means of V whose differences these are: take from V the vector that its rows share, wherever "
         "one "
         "query sees them together, leave out rows that are far larger than others, or choose --output-error off";
}

std::string StudyCase::softcap_advice() const {
  auto const& reached = data.real("softcap_reached");
  std::ostringstream advice;
  advice.precision(3);
  advice << "; fp32 cannot tell logits apart that are this near to the softcap of " << group->form.softcap << ": "
         << 100.0 * std::accumulate(reached.begin(), reached.end(), 0.0) / exact_double(std::ssize(reached))
         << "% of all are within 1/128 of it, and which of them are kept is by their place alone; make Q or K smaller";
  return advice.str();
}

std::string StudyCase::verdict_reason() const {
  auto const tolerance = tolerances();
  std::vector<Residual> residuals;
  for (std::size_t i = 0; i < check_names.size(); ++i) residuals.push_back({check_names[i], checks.worst[i], tolerance[i]});
  auto& finite = residuals[static_cast<std::size_t>(Check::finite)];
  if (finite.worst > finite.tolerance) finite.of = few_names(fields_not_finite(data, axes()));
  auto const audit = static_cast<std::size_t>(Check::audit_metrics);
  bool const rounded = !group->simulated && std::isfinite(checks.worst[audit]) && checks.worst[audit] > tolerance[audit];
  auto const over = [&](Check check) { return checks.of(check) > tolerance[static_cast<std::size_t>(check)]; };
  return over_tolerance(residuals) + (rounded ? rounding_advice() : "") + (over(Check::output_rounding) ? output_advice() : "") +
         (over(Check::softcap_ties) ? softcap_advice() : "");
}

std::string StudyCase::texts() const { return few_names(group->texts); }

double StudyCase::sigma() const {
  if (group->head < 0) return plan().sigma;
  double square = 0.0;
  for (auto const sigma : data.real("sigma_i")) square += sigma * sigma;
  return std::sqrt(square / int_size(data.real("sigma_i")));
}

}  // namespace asymptop
