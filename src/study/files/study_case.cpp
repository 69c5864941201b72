#include "study/files/study_case.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "config/number_text.hpp"
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

std::string StudyCase::output_advice() const {
  return "fp32 keeps too few digits of the means of V whose differences these are: take from V the vector that its rows share, wherever one "
         "query sees them together, leave out rows that are far larger than others, or choose --output-error off";
}

std::string StudyCase::softcap_advice() const {
  auto const& reached = data.real("softcap_reached");
  double const share = std::accumulate(reached.begin(), reached.end(), 0.0) / exact_double(std::ssize(reached));
  return "fp32 cannot tell logits apart that are this near to the softcap of " + count_or(group->form.softcap, 3) + ": " +
         count_or(100.0 * share, 3) +
         "% of all are within 1/128 of it, and which of them are kept is by their place alone; make Q or K smaller";
}

std::string StudyCase::verdict_reason() const {
  auto const tolerance = tolerances();
  std::vector<Residual> residuals;
  for (std::size_t i = 0; i < check_names.size(); ++i) residuals.push_back({check_names[i], checks.worst[i], tolerance[i]});
  auto& finite = residuals[place_of(Check::finite)];
  if (finite.worst > finite.tolerance) finite.of = few_names(fields_not_finite(data, axes()));
  residuals[place_of(Check::audit_metrics)].of_products = true;
  auto const advise = [&](Check check, auto const& advice) {
    auto& residual = residuals[place_of(check)];
    if (residual.worst > residual.tolerance) residual.advice = advice();
  };
  advise(Check::output_rounding, [&] { return output_advice(); });
  advise(Check::softcap_ties, [&] { return softcap_advice(); });
  auto const products = group->simulated            ? Products::none
                        : group->form.softcap > 0.0 ? Products::under_softcap
                        : group->head < 0           ? Products::made
                                                    : Products::of_file;
  return asymptop::verdict_reason(residuals, products, largest_logit());
}

std::string StudyCase::texts() const { return few_names(group->texts); }

double StudyCase::sigma() const {
  if (group->head < 0) return plan().sigma;
  double square = 0.0;
  for (auto const sigma : data.real("sigma_i")) square += sigma * sigma;
  return std::sqrt(square / int_size(data.real("sigma_i")));
}

}  // namespace asymptop
