// A row of which the best keys are kept and others drawn at random: which ones, and the errors of the weighted sums over them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/select/random_order.hpp"
#include "kernels/select/vattention.hpp"
#include "row/head_ranks.hpp"
#include "row/row_owner.hpp"

namespace asymptop {

/// At a budget of k the row's k best keys and its forced ones are kept, and of the others the first ones of a permutation, which is the
/// same for every k and law of sigma:
///
///   permutation:   s s F s s s F s | s s F s ...      s: drawn, F: kept in any case at this k
///                  base sample       up to the bound's count
///
/// The permutation's keys are drawn in two steps: at first as many as any base sample takes, by draw() as many as any sample does; the
/// scores of keys_to_score() are given after either. choose() is between them, and says how many keys that will be. `row` has its head and
/// is evaluated. A sample of more than half of the others is evaluated with the rest of them beside it, so that nothing small is a
/// difference.
class SampledRow {
 public:
  SampledRow(OwnedRow const& row, VattentionSelector const& selector, std::uint64_t name, MetricAxes const& axes);

  /// Those that are not in the row's head; since the last take_scores().
  std::vector<GlobalIndex> keys_to_score() const;
  void take_scores(std::span<float const> scores);

  std::int64_t choose();
  void draw();
  std::vector<RowMetrics> metrics() const;
  int row() const { return row_.row; }
  /// Lets go of its keys: there is nothing more to ask.
  void release() { sample_ = {}; }

  /// Sums of outputs that are asked for under one law, (sums(), d + 1), all relative to the row's largest score.
  struct Part {
    GlobalIndex key;
    int sum;
  };
  int sums() const { return 3 * int_size(axes_.k); }
  std::vector<Part> parts(std::size_t law) const;
  void output_errors(std::size_t law, std::span<double const> sums, RowMetrics& metrics) const;

 private:
  struct Key {
    GlobalIndex index;
    std::int64_t rank;  ///< in the head, or beyond
    float score;
  };
  /// One k of the axis that does not keep all keys by itself.
  struct Budget {
    std::int64_t best, forced, others;
    std::int64_t drawn_of_head = 0;  ///< keys of the head that are drawn so far and not kept in any case
  };

  Key key_of(GlobalIndex index) const;
  double exponential(std::size_t law, Key const& key) const;
  std::vector<double> exponentials(std::size_t law) const;
  std::int64_t drawn(Budget const& budget) const { return drawn_beyond_ + budget.drawn_of_head; }
  /// Goes on along the permutation until there are so many for each budget.
  void draw_until(std::vector<std::int64_t> const& wanted);
  /// Where the first `count` keys of a budget's sample end.
  std::size_t end_of(Budget const& budget, std::int64_t count) const;
  std::int64_t count_of(std::size_t law, Budget const& budget, std::vector<double> const& e) const;
  /// Over the keys that are neither kept in any case nor drawn before `end`.
  double dropped(std::size_t law, Budget const& budget, std::size_t end, std::vector<double> const& e) const;

  OwnedRow const& row_;
  VattentionSelector const& selector_;
  MetricAxes const& axes_;
  Permutation key_at_;
  HeadRanks rank_of_;
  std::vector<Key> window_;  ///< the selector's forced keys
  std::vector<Key> sample_;  ///< in the permutation's order, without the window
  std::vector<Budget> budgets_;
  std::vector<std::size_t> place_of_head_;         ///< in sample_, per key of the head
  std::vector<std::vector<std::size_t>> ends_;     ///< (laws, budgets), in sample_
  std::vector<std::int64_t> wanted_;               ///< per budget: keys of the largest sample that is to be drawn
  std::vector<std::vector<std::int64_t>> counts_;  ///< (laws, budgets)
  std::int64_t next_ = 0, drawn_beyond_ = 0;       ///< place in the permutation; keys that no budget keeps in any case
  std::size_t scored_window_ = 0, scored_sample_ = 0;
};

}  // namespace asymptop
