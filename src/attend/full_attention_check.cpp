// Is a draw of full attention right? A few rows again in fp64, by all ranks over their own keys; counts and identities over all rows.
#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "attend/full_attention.hpp"
#include "kernels/input/input_tile.hpp"
#include "kernels/input/philox_normal.hpp"
#include "row/row_partial.hpp"
#include "row/tolerances.hpp"

namespace asymptop {
namespace {

/// Quantities of all rows that have to be finite.
constexpr std::array<char const*, 4> numbers_of_rows = {"output of exact attention", "output of top-k attention", "output_error",
                                                        "tail_mass"};

/// The first row, the last and two by draw.
std::vector<GlobalIndex> positions_to_check(GlobalIndex n, std::int64_t draw) {
  std::vector<GlobalIndex> positions{0, n - 1};
  auto const stream = tensor_stream(draw, 0, n, 1, Tensor::positions);
  for (std::uint32_t i = 0; i < 2; ++i) {
    std::uint32_t w0, w1, w2, w3;
    philox_words(stream, i, 0, w0, w1, w2, w3);
    positions.push_back(((std::uint64_t{w0} << 32) | w1) % n);
  }
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return positions;
}

/// What the owner of a row says of it, to all ranks.
struct ReportedRow {
  std::vector<float> q, exact, top_k;  ///< (d), (d), (k, d)
  std::vector<Candidate> edge;         ///< (k)
  double log_sum_exp = 0.0;            ///< on rank 0
  std::vector<double> tail_mass;       ///< (k), on rank 0
};

/// The row over some keys: all of them, those of each head, those outside it.
struct RowPartials {
  Partial all;
  std::vector<Partial> head, tail;
  std::vector<std::int64_t> inside;  ///< keys counted in each head
};

class DrawCheck {
 public:
  DrawCheck(RingSequence& sequence, std::int64_t draw, ExactAttention const* exact, TopKAttention const* top_k,
            DifferenceResult const* difference)
      : sequence_(sequence),
        comm_(sequence.comm()),
        exact_(exact),
        top_k_(top_k),
        difference_(difference),
        d_(sequence.d()),
        heads_(top_k == nullptr ? 0 : sequence.item().k.size()),
        positions_(positions_to_check(sequence.item().n, draw)) {}

  std::vector<Residual> run() {
    share_rows();
    for (std::size_t i = 0; i < positions_.size(); ++i) partials_.push_back(over_own_keys(i));
    count_heads();
    compare();
    return residuals();
  }

 private:
  /// Owners of the rows tell all ranks.
  void share_rows() {
    std::vector<std::int64_t> integers;
    std::vector<float> floats;
    std::vector<double> numbers;
    std::size_t base = 0;
    for (auto const& run : sequence_.runs(comm_.rank())) {
      for (std::size_t i = 0; i < positions_.size(); ++i) {
        if (positions_[i] < run.begin || positions_[i] >= run.end) continue;
        auto const row = base + (positions_[i] - run.begin);
        integers.push_back(i);
        add_row(row, integers, floats, numbers);
      }
      base += run.size();
    }
    integers = comm_.all_gather(integers);
    floats = comm_.all_gather(floats);
    numbers = comm_.gather(numbers);
    rows_.resize(positions_.size());
    auto const width = 1 + heads_, float_width = d_ + (exact_ != nullptr ? d_ : 0) + heads_ * (d_ + 1), number_width = 1 + heads_;
    for (std::size_t at = 0; at * width < integers.size(); ++at) {
      auto& row = rows_[integers[at * width]];
      auto from = floats.begin() + (at * float_width);
      auto const take = [&](std::vector<float>& to, std::size_t count) {
        to.assign(from, from + count);
        from += count;
      };
      take(row.q, d_);
      if (exact_ != nullptr) take(row.exact, d_);
      take(row.top_k, heads_ * d_);
      for (std::size_t h = 0; h < heads_; ++h) row.edge.push_back({*from++, integers[at * width + 1 + h]});
      if (!comm_.is_root()) continue;
      row.log_sum_exp = numbers[at * number_width];
      for (std::size_t h = 0; h < heads_; ++h) row.tail_mass.push_back(numbers[at * number_width + 1 + h]);
    }
  }

  void add_row(std::size_t row, std::vector<std::int64_t>& integers, std::vector<float>& floats, std::vector<double>& numbers) const {
    auto const add = [&](float const* from) { floats.insert(floats.end(), from, from + d_); };
    add(sequence_.query(row));
    if (exact_ != nullptr) add(exact_->output.data() + row * d_);
    for (std::size_t h = 0; h < heads_; ++h) add(top_k_->output.data() + (h * sequence_.rows() + row) * d_);
    for (std::size_t h = 0; h < heads_; ++h) {
      integers.push_back(top_k_->edge[row * heads_ + h].index);
      floats.push_back(top_k_->edge[row * heads_ + h].score);
    }
    numbers.push_back(exact_ != nullptr ? exact_->log_sum_exp[row] : 0.0);
    for (std::size_t h = 0; h < heads_; ++h) numbers.push_back(difference_ != nullptr ? difference_->tail_mass[row * heads_ + h] : 0.0);
  }

  /// Keys that the row sees: stated here once more, so that a mistake of the ring is not repeated.
  std::int64_t visible(std::size_t i) const { return sequence_.item().mask == Mask::none ? sequence_.item().n : positions_[i] + 1; }

  RowPartials over_own_keys(std::size_t i) {
    RowPartials partials{{}, std::vector<Partial>(heads_), std::vector<Partial>(heads_), std::vector<std::int64_t>(heads_, 0)};
    constexpr int piece_keys = 1024;
    for (auto const& piece : sequence_.own_pieces()) {
      auto const seen = std::clamp<std::int64_t>(visible(i) - piece.first, 0, piece.count);
      for (std::int64_t first = 0; first < seen; first += piece_keys)
        add_keys(i, piece, first, std::min<std::int64_t>(piece_keys, seen - first), partials);
    }
    return partials;
  }

  /// Keys [first, first + count) of a piece. The fp32 score is the kernels' own chain, so a key is on the same side of an edge.
  void add_keys(std::size_t i, KeyPiece const& piece, std::int64_t first, std::int64_t count, RowPartials& partials) {
    auto const& row = rows_[i];
    std::int64_t const d = d_;
    std::vector<float> keys(count * d_), scores(count, 0.0f);
    for (std::int64_t j = 0; j < count; ++j) {
      float const* group = piece.keys + (first + j) / key_group * key_group * d + (first + j) % key_group;
      auto& score = scores[j];
      for (std::int64_t c = 0; c < d; ++c) {
        float const x = keys[j * d + c] = group[c * key_group];
        score = std::fma(row.q[c], x, score);
      }
    }
    auto const products = reference::logits(row.q, keys, count, d, 1.0);
    double const q_norm = norm(row.q.data(), d);
    for (std::int64_t j = 0; j < count; ++j) {
      std::size_t const at = j;
      note(scores_, std::fabs(scores[at] - products[at]) / std::max(q_norm * norm(&keys[at * d_], d), smallest_product));
    }
    float const* values = piece.values + first * d;
    auto const part = [&](auto const& wanted) {
      std::vector<double> logits;
      std::vector<float> some;
      for (std::int64_t j = 0; j < count; ++j) {
        if (!wanted(j)) continue;
        logits.push_back(sequence_.item().sigma * products[j]);
        some.insert(some.end(), values + j * d, values + (j + 1) * d);
      }
      auto result = partial_of(logits, some, d);
      result.output.resize(d_);
      return result;
    };
    partials.all.join(part([](std::int64_t) { return true; }));
    for (std::size_t h = 0; h < heads_; ++h) {
      auto const inside = [&](std::int64_t j) { return !before(row.edge[h], {scores[j], piece.first + first + j}); };
      partials.head[h].join(part(inside));
      partials.tail[h].join(part([&](std::int64_t j) { return !inside(j); }));
      for (std::int64_t j = 0; j < count; ++j) partials.inside[h] += inside(j) ? 1 : 0;
    }
  }

  void count_heads() {
    std::vector<std::int64_t> counts{exact_ != nullptr ? exact_->miscounted : 0, difference_ != nullptr ? difference_->miscounted : 0};
    auto const not_finite = numbers_not_finite();
    counts.insert(counts.end(), not_finite.begin(), not_finite.end());
    auto const before_heads = counts.size();
    for (auto const& partials : partials_) counts.insert(counts.end(), partials.inside.begin(), partials.inside.end());
    comm_.sum(counts);
    std::vector<double> const totals(counts.begin(), counts.end());
    keys_seen_ = totals[0];
    top_k_count_ = totals[1];
    std::vector<std::string> names;
    for (std::size_t i = 0; i < not_finite.size(); ++i) {
      finite_ += totals[2 + i];
      if (totals[2 + i] > 0.0) names.emplace_back(numbers_of_rows[i]);
    }
    not_finite_ = few_names(names);
    for (std::size_t i = 0; i < positions_.size(); ++i) {
      for (std::size_t h = 0; h < heads_; ++h) {
        auto const expected = std::min(sequence_.item().k[h], visible(i));
        top_k_count_ += exact_double(std::abs(counts[before_heads + i * heads_ + h] - expected));
      }
    }
  }

  /// How many numbers of this rank's rows are not finite, of each quantity.
  std::array<std::int64_t, numbers_of_rows.size()> numbers_not_finite() const {
    auto const bad = [](auto const& values) {
      return std::count_if(values.begin(), values.end(), [](auto x) { return !std::isfinite(x); });
    };
    return {exact_ != nullptr ? bad(exact_->output) : 0, top_k_ != nullptr ? bad(top_k_->output) : 0,
            top_k_ != nullptr ? bad(top_k_->error) : 0, difference_ != nullptr ? bad(difference_->tail_mass) : 0};
  }

  /// Partials of all ranks meet on rank 0.
  void compare() {
    std::vector<double> mine;
    auto const add = [&](Partial const& partial) {
      mine.push_back(partial.profile.log_sum_exp);
      auto output = partial.output;
      output.resize(d_);
      mine.insert(mine.end(), output.begin(), output.end());
    };
    for (auto const& partials : partials_) {
      add(partials.all);
      for (auto const& head : partials.head) add(head);
      for (auto const& tail : partials.tail) add(tail);
    }
    auto const all = comm_.gather(mine);
    if (!comm_.is_root()) return;
    auto const kinds = 1 + 2 * heads_, width = 1 + d_;
    for (std::size_t i = 0; i < positions_.size(); ++i) {
      std::vector<Partial> joined(kinds);
      for (std::size_t rank = 0; rank * mine.size() < all.size(); ++rank) {
        for (std::size_t kind = 0; kind < kinds; ++kind) {
          double const* from = &all[rank * mine.size() + (i * kinds + kind) * width];
          Partial part;
          part.profile.log_sum_exp = from[0];
          part.output.assign(from + 1, from + width);
          joined[kind].join(part);
        }
      }
      compare_row(rows_[i], joined);
    }
  }

  void compare_row(ReportedRow const& row, std::vector<Partial> const& joined) {
    double const log_sum_exp = joined[0].profile.log_sum_exp;
    largest_logit_ = std::max(largest_logit_, std::fabs(log_sum_exp));
    if (exact_ != nullptr) {
      note(exact_output_, distance(row.exact.data(), joined[0].output));
      note(sum_p_, std::fabs(1.0 - std::exp(log_sum_exp - row.log_sum_exp)));
    }
    for (std::size_t h = 0; h < heads_; ++h) {
      note(top_k_output_, distance(row.top_k.data() + h * d_, joined[1 + h].output));
      if (difference_ == nullptr) continue;
      double const tail = std::exp(joined[1 + heads_ + h].profile.log_sum_exp - log_sum_exp);
      note(tail_mass_, tail > 0.0 ? std::fabs(row.tail_mass[h] - tail) / tail : row.tail_mass[h]);
    }
  }

  /// ‖measured - reference‖ / ‖reference‖.
  static double distance(float const* measured, std::vector<double> const& reference) {
    double difference = 0.0, square = 0.0;
    for (std::size_t c = 0; c < reference.size(); ++c) {
      double const error = measured[c] - reference[c];
      difference += error * error;
      square += reference[c] * reference[c];
    }
    return std::sqrt(difference / std::max(square, 1e-290));
  }

  /// A power iteration that has not reached the largest row is no result.
  std::vector<Residual> residuals() const {
    std::vector<double> worst{scores_, exact_output_, sum_p_, top_k_output_, tail_mass_, largest_logit_};
    comm_.max(worst);
    double const score = score_tolerance(d_), sums = sums_tolerance(d_, worst[5]);
    std::vector<Residual> found{{"scores", worst[0], score}, {"finite", finite_, 0.0, not_finite_}};
    if (exact_ != nullptr) {
      found.push_back({"keys_seen", keys_seen_, 0.0});
      found.push_back({"exact_output", worst[1], sums});
      found.push_back({"sum_p", worst[2], sums});
    }
    if (top_k_ != nullptr) {
      found.push_back({"top_k_count", top_k_count_, 0.0});
      found.push_back({"top_k_output", worst[3], sums});
    }
    if (difference_ != nullptr) {
      found.push_back({"tail_mass", worst[4], sums});
      double adjoint = 0.0, order = 0.0;
      for (auto const& norms : difference_->norms) {
        note(adjoint, norms.adjoint);
        if (norms.frobenius > 0.0) note(order, std::max(norms.spectral / norms.frobenius, norms.largest_row / norms.spectral) - 1.0);
      }
      found.push_back({"norms_adjoint", adjoint, sums});
      found.push_back({"norms_order", order, sums});
    }
    return found;
  }

  RingSequence& sequence_;
  Communicator const& comm_;
  ExactAttention const* exact_;
  TopKAttention const* top_k_;
  DifferenceResult const* difference_;
  std::size_t d_, heads_;
  std::vector<GlobalIndex> positions_;
  std::vector<ReportedRow> rows_;
  std::vector<RowPartials> partials_;
  std::string not_finite_;
  double scores_ = 0.0, finite_ = 0.0, keys_seen_ = 0.0, exact_output_ = 0.0, sum_p_ = 0.0;
  double top_k_count_ = 0.0, top_k_output_ = 0.0, tail_mass_ = 0.0, largest_logit_ = 0.0;
};

}  // namespace

std::vector<Residual> check_draw(RingSequence& sequence, std::int64_t draw, ExactAttention const* exact, TopKAttention const* top_k,
                                 DifferenceResult const* difference) {
  return DrawCheck(sequence, draw, exact, top_k, difference).run();
}

}  // namespace asymptop
