// Is a benchmark's result right? A few rows are computed again in fp64 with the frozen references, block by block on all ranks.
#pragma once

#include <string>
#include <vector>

#include "bench/bench_work.hpp"
#include "row/residual.hpp"

namespace asymptop {

/// Rows to check: the first, the last and some between; fewer for long contexts, two at least where there are two.
std::vector<int> rows_to_check(std::int64_t m, std::int64_t n);

/// Collective; the same on all ranks.
///   scores             |fp32 - fp64 score| / (‖q‖‖k‖), of the scores that the kernel reports
///   top_k_order        lists of the wrong length, or entries out of the total order or of range: a count
///   top_k_missed       how far a key that is not in the list lies above the list's last score, / (‖q‖‖k‖)
///   profile            log_sum_exp, entropy, sum p^2 and p_max, relative
///   kept               rows that `merge` selects other or fewer keys of than it should: a count
///   normals            numbers that the scalar generator makes otherwise, by their bits: a count
///   output             ‖output - reference‖ / ‖reference‖; for top-k attention over the keys that the list names
std::vector<Residual> check_answer(BenchProblem const& problem, std::vector<int> const& rows, BenchAnswer const& answer);

/// The part of check_answer that is for `merge`.
std::vector<Residual> check_merge(BenchProblem const& problem, std::vector<int> const& rows, BenchAnswer const& answer);

/// The part of check_answer that is for `normals`.
std::vector<Residual> check_normals(BenchProblem const& problem, BenchAnswer const& answer);

}  // namespace asymptop
