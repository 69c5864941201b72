// The datasets of a case that grow with its draws: what writing and reading them share.
#pragma once

#include "h5/h5.hpp"
#include "study/files/study_case.hpp"

namespace asymptop {

/// Calls field(name, axis, member of CaseData, units, long name) for each dataset (draw, row) or (draw, row, axis) that the case has; axis
/// is a Dimension, of an empty name where there is none.
template <class Field>
void visit_case_fields(StudyCase const& c, Field const& field) {
  h5::Dimension const none{"", 1}, k{"k", c.group->k.size()}, epsilon{"epsilon", c.config->epsilon.size()},
      threshold{"threshold", c.config->count_above.size()};
  field("row_n", none, &CaseData::row_n, "keys", "keys that the row sees");
  field("row_position", none, &CaseData::row_position, "1", "position of the query in the sequence, -1 when not in it");
  field("sigma_i", none, &CaseData::sigma_i, "1", "standard deviation of the row's logits over keys");
  field("logit_mean", none, &CaseData::logit_mean, "1", "mean of the row's logits");
  field("logit_std", none, &CaseData::logit_std, "1", "sample standard deviation of the row's logits");
  field("logit_max", none, &CaseData::logit_max, "1", "largest logit of the row");
  field("log_sum_exp", none, &CaseData::log_sum_exp, "1", "log of the sum of exp(logit)");
  field("entropy_nats", none, &CaseData::entropy_nats, "nat", "entropy of p");
  field("sum_p_squared", none, &CaseData::sum_p_squared, "1", "sum of p^2");
  field("p_max", none, &CaseData::p_max, "1", "largest p");
  field("participation_ratio", none, &CaseData::participation_ratio, "keys", "1 / sum of p^2");
  if (c.group->by_thresholds()) {
    field("k_counted", k, &CaseData::k_counted, "keys", "keys that the errors at k are those of: k itself up to k_held");
    field("k_counted_bound", k, &CaseData::k_counted_bound, "1", "bound on |tail_mass at k - tail_mass at k_counted|");
  }
  field("tail_mass", k, &CaseData::tail_mass, "1", "1 - sum of the k largest p");
  field("row_l2_error", k, &CaseData::row_l2_error, "1", "2-norm of p - p_hat");
  field("row_linf_error", k, &CaseData::row_linf_error, "1", "maximum norm of p - p_hat");
  if (c.config->output_error) {
    field("output_error", k, &CaseData::output_error, "1", "2-norm of (p - p_hat) V");
    field("output_error_relative", k, &CaseData::output_error_relative, "1", "2-norm of (p - p_hat) V over that of p V");
  }
  field("k_epsilon", epsilon, &CaseData::k_epsilon, "keys", "smallest k with tail_mass <= epsilon");
  field("count_p_above", threshold, &CaseData::count_p_above, "keys", "entries with p > threshold");
}

}  // namespace asymptop
