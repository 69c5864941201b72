// Where in the texts of a tensor file the draws of a group lie: which keys each sees, and where its rows are.
#pragma once

#include <cstdint>
#include <string>

#include "config/run_config.hpp"
#include "plan/input_shape.hpp"

namespace asymptop {

/// Contexts of n keys. Draws go round the texts in turn; a draw's context ends at a place of its own, or all of a text are what it begins
/// with.
struct ContextPlan {
  Contexts kind = Contexts::prefix;
  std::int64_t n = 0, texts = 1;
  std::int64_t tail = 0;                     ///< rows are among the last so many keys of their context
  std::int64_t first_end = 0, last_end = 0;  ///< contexts end from here to there
  std::int64_t ends = 1;                     ///< of a text's contexts, so far apart that no two share a row
};

/// The context of one draw: keys [begin, begin + n) of a text.
struct Context {
  std::int64_t text = 0, begin = 0;
  std::int64_t turn = 0;  ///< how many earlier draws are of the same text
};

/// What a group is measured with, which may be less than asked for.
struct DrawCounts {
  int rows = 0, draws = 0;
  std::int64_t most_draws = 0;  ///< whose rows are apart
  /// Of all draws, as a number.
  double all_rows() const { return 1.0 * draws * rows; }
};

/// What all contexts of a file are. Unless it is given, files with layers have what their texts begin with, as only that is what the model
/// saw as a context of n, where the texts are enough to tell an error by (4) and all keys of all layers have a query, and else places;
/// other files, and input that is made, have prefixes.
Contexts contexts_of(RunConfig const& config, InputShape const& input);

/// tensors: n > 0. Rows of a prefix are in its second half, those of other contexts in their last eighth, where with a causal mask they see
/// 7/8 n keys or more: every row is of a context of about n keys. Only places that have a query count.
ContextPlan plan_contexts(RunConfig const& config, InputShape const& input, LayerShape const& tensors, std::int64_t n);

/// Prefixes give up rows so that all draws have some; other contexts have no more rows than places, and no more draws than ends, one of
/// each text where they are what texts begin with. Zero rows where no place has a query.
DrawCounts count_draws(RunConfig const& config, ContextPlan const& contexts);

/// Why the counts are less than asked for: a line about n; empty where they are not.
std::string lowered_line(RunConfig const& config, ContextPlan const& contexts, DrawCounts const& counts);

/// The first draws of a text end at its end, half way to the first end that there is, and so on between them: any number of draws is spread
/// evenly, and a draw's context does not depend on how many there are. The i-th text begins with the i-th of these ends.
Context context_of(ContextPlan const& contexts, std::int64_t draw);

}  // namespace asymptop
