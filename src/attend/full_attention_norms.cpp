// Norms of the difference matrix of exact and top-k attention: one round of keys for what its rows hold, two for each step of a power
// iteration on D^T D. Nothing is kept but vectors.
#include <algorithm>
#include <cmath>

#include "attend/full_attention.hpp"
#include "comm/exact_sum.hpp"
#include "kernels/attend/difference.hpp"
#include "kernels/core/math.hpp"
#include "kernels/input/normal_rows.hpp"

#ifndef ASYMPTOP_PORTABLE_DEVICE

namespace asymptop {
namespace {

using Space = RingSequence::Space;

enum NormsTag { vector_tag = 11, column_tag = 12 };

/// The rank's rows of D, batch by batch, and their products with vectors that lie as the keys do: (heads, rows of a rank).
class DifferenceRing {
 public:
  DifferenceRing(RingSequence& sequence, TopKAttention const& top_k, AttendTimes& times)
      : sequence_(sequence),
        times_(times),
        heads_(sequence.item().k.size()),
        vectors_(sequence.comm(), vector_tag, [this](int rank) { return heads_ * sequence_.rows_of(rank); }),
        columns_(sequence.comm(), column_tag) {
    for (auto& batch : sequence.batches()) {
      std::ptrdiff_t const first = batch.first, count = batch.size(), heads = heads_;
      DifferenceRows rows;
      rows.heads = checked_int(heads_);
      rows.sigma = sequence.item().fp32_sigma();
      rows.limit = batch.limit;
      rows.max.assign(top_k.max.begin() + first, top_k.max.begin() + first + count);
      rows.edge.assign(top_k.edge.begin() + first * heads, top_k.edge.begin() + (first + count) * heads);
      rows_.push_back(std::move(rows));
      batches_.push_back(std::move(batch));
    }
  }

  std::size_t heads() const { return heads_; }

  /// Sums over the keys outside each head, (rows, heads); makes the entries of D known. Returns the tail masses.
  std::vector<double> find_tails(TopKAttention const& top_k, DifferenceResult& result) {
    double const factor = FixedPoint::make(sequence_.item().n, 1.0).weight;
    std::vector<std::vector<TailSums>> tails;
    for (auto const& batch : batches_) tails.emplace_back(batch.size() * heads_);
    sequence_.keys_go_round(times_, AttendPhase::tails, [&](int, std::vector<KeyPiece> const& pieces, auto const& poll) {
      for_each(pieces, [&](std::size_t b, KeyPiece const& piece, int count) {
        matrix(b).add_tails(space_, piece.keys, piece.first, count, factor, tails[b], poll);
      });
    });
    std::vector<double> masses, squares, largest(heads_, 0.0);
    bound_.assign(heads_, 0.0);
    for (std::size_t b = 0; b < batches_.size(); ++b) {
      for (std::size_t i = 0; i < batches_[b].size() * heads_; ++i)
        take_row(top_k, b, i, tails[b][i], factor, masses, squares, largest, result.miscounted);
    }
    sequence_.comm().max(bound_);
    sequence_.comm().max(largest);
    auto const square = exact_sums(sequence_.comm(), squares, heads_, sequence_.item().n);
    for (std::size_t h = 0; h < heads_; ++h) {
      result.norms[h].frobenius = std::sqrt(square[h]);
      result.norms[h].largest_row = std::sqrt(largest[h]);
    }
    return masses;
  }

  /// y = D x, (rows, heads).
  std::vector<float> multiply(std::vector<float> const& x) {
    std::vector<double> largest(heads_, 0.0);
    for (std::size_t h = 0; h < heads_; ++h) {
      for (std::size_t row = 0; row < sequence_.rows(); ++row)
        largest[h] = std::max<double>(largest[h], std::fabs(x[h * sequence_.rows() + row]));
    }
    sequence_.comm().max(largest);
    std::vector<std::vector<double>> scales;
    std::vector<std::vector<std::int64_t>> sums;
    for (std::size_t b = 0; b < batches_.size(); ++b) {
      auto& scale = scales.emplace_back();
      // Entries of a row add up to twice its tail mass, signs aside.
      for (std::size_t i = 0; i < batches_[b].size() * heads_; ++i)
        scale.push_back(fixed_point_scale(4.0 * tail_of(b, i) * largest[i % heads_], 1));
      sums.emplace_back(scale.size(), 0);
    }
    vectors_.start(x);
    sequence_.keys_go_round(
        times_, AttendPhase::norms,
        [&](int source, std::vector<KeyPiece> const& pieces, auto const& poll) {
          std::ptrdiff_t const stride = sequence_.rows_of(source);
          for_each(pieces, [&](std::size_t b, KeyPiece const& piece, int count) {
            matrix(b).multiply(space_, piece.keys, piece.first, count, vectors_.current().data() + piece.offset, stride, scales[b], sums[b],
                               poll);
          });
        },
        vectors_);
    std::vector<float> y;
    for (std::size_t b = 0; b < batches_.size(); ++b) {
      for (std::size_t i = 0; i < sums[b].size(); ++i) y.push_back(to_fp32(from_fixed(sums[b][i], scales[b][i])));
    }
    return y;
  }

  /// z = D^T y, (heads, rows). Sums of the keys' columns follow the keys: each rank adds its rows' part and sends them on.
  std::vector<double> multiply_transposed(std::vector<float> const& y) {
    auto const& comm = sequence_.comm();
    std::vector<double> largest(heads_, 0.0), scale;
    for (std::size_t i = 0; i < y.size(); ++i) largest[i % heads_] = std::max<double>(largest[i % heads_], std::fabs(y[i]));
    comm.max(largest);
    for (std::size_t h = 0; h < heads_; ++h) scale.push_back(fixed_point_scale(2.0 * bound_[h] * largest[h], sequence_.item().n));
    std::vector<std::int64_t> mine, sending, arriving;
    sequence_.keys_go_round(times_, AttendPhase::norms, [&](int source, std::vector<KeyPiece> const& pieces, auto const& poll) {
      auto const rows = sequence_.rows_of(source);
      bool const more = source != comm.rank();  // others have added to these before
      if (more) {
        arriving.resize(heads_ * rows);
        columns_.receive(arriving.data(), arriving.size() * sizeof(std::int64_t));
      }
      mine.assign(heads_ * rows, 0);
      for_each(pieces, [&](std::size_t b, KeyPiece const& piece, int count) {
        std::ptrdiff_t const first = batches_[b].first * heads_;
        std::vector<float> const part(y.begin() + first, y.begin() + first + (batches_[b].size() * heads_));
        matrix(b).multiply_transposed(space_, piece.keys, piece.first, count, part, scale, mine.data() + piece.offset, rows, poll);
      });
      if (more) {
        columns_.wait();
        for (std::size_t i = 0; i < mine.size(); ++i) mine[i] += arriving[i];
      }
      if (comm.size() == 1) return;
      sending.swap(mine);
      columns_.send(sending.data(), sending.size() * sizeof(std::int64_t));
    });
    if (comm.size() > 1) {
      mine.resize(heads_ * sequence_.rows());
      columns_.receive(mine.data(), mine.size() * sizeof(std::int64_t));
      columns_.wait();
    }
    std::vector<double> z;
    for (std::size_t i = 0; i < mine.size(); ++i) z.push_back(from_fixed(mine[i], scale[i / sequence_.rows()]));
    return z;
  }

 private:
  DifferenceMatrix<Space> matrix(std::size_t b) const { return {batches_[b].queries, rows_[b], sequence_.leaf(), sequence_.threads()}; }

  /// visit(batch, piece, keys of the piece that the batch sees).
  template <class Visit>
  void for_each(std::vector<KeyPiece> const& pieces, Visit const& visit) const {
    for (auto const& piece : pieces) {
      for (std::size_t b = 0; b < batches_.size(); ++b) {
        int const count = RingSequence::seen_of(piece, batches_[b]);
        if (count > 0) visit(b, piece, count);
      }
    }
  }

  /// Entry i of batch b: from head and tail sums to the factors of D's entries, and what they say of the row.
  void take_row(TopKAttention const& top_k, std::size_t b, std::size_t i, TailSums const& tail, double factor, std::vector<double>& masses,
                std::vector<double>& squares, std::vector<double>& largest, std::int64_t& miscounted) {
    auto& rows = rows_[b];
    auto const row = i / heads_, h = i % heads_, at = batches_[b].first * heads_ + i;
    double const sigma = sequence_.item().sigma, edge = rows.edge[i].score, max = rows.max[row];
    double const at_edge = std::exp(sigma * (edge - max));
    double const head = top_k.weight[at], outside = from_fixed(tail.weight, factor) * at_edge, z = head + outside;
    double const odds = outside / head;  // tau / (1 - tau)
    double const square = (from_fixed(tail.square, factor) * at_edge * at_edge + odds * odds * top_k.square[at]) / (z * z);
    rows.outside.push_back(to_fp32(1.0 / z));
    rows.inside.push_back(to_fp32(-odds / z));
    masses.push_back(outside / z);
    squares.push_back(square);
    tail_mass_.push_back(outside / z);
    largest[h] = std::max(largest[h], square);
    bound_[h] = std::max(bound_[h], std::max(at_edge, odds) / z);
    miscounted += std::abs(tail.inside - std::min(batches_[b].limit[row], sequence_.item().k[h]));
  }

  double tail_of(std::size_t b, std::size_t i) const { return tail_mass_[batches_[b].first * heads_ + i]; }

  RingSequence& sequence_;
  AttendTimes& times_;
  Space space_;
  std::size_t heads_;
  Circulation<float> vectors_;
  RingMessages columns_;
  std::vector<QueryBatch> batches_;
  std::vector<DifferenceRows> rows_;  ///< of each batch
  std::vector<double> tail_mass_;     ///< (rows, heads)
  std::vector<double> bound_;         ///< (heads): largest |D_ij|, or more
};

/// The power iteration for all heads at once; what has converged goes along unchanged in its result.
class PowerIteration {
 public:
  PowerIteration(RingSequence const& sequence, DifferenceRing& matrix, std::vector<DifferenceNorms>& norms)
      : sequence_(sequence), matrix_(matrix), norms_(norms), heads_(matrix.heads()), last_(heads_, 0.0) {}

  void run(std::vector<float> x, std::int64_t most) {
    normalise(x, std::vector<double>(x.begin(), x.end()));
    for (std::int64_t step = 1; step <= most; ++step) {
      auto const y = matrix_.multiply(x);
      auto const z = matrix_.multiply_transposed(y);
      if (take(step, x, y, z)) return;
      normalise(x, z);
    }
  }

 private:
  /// x (heads, rows) = z / ‖z‖.
  void normalise(std::vector<float>& x, std::vector<double> const& z) const {
    auto const square = sums_of(z, z);
    for (std::size_t i = 0; i < x.size(); ++i) {
      double const norm = std::sqrt(square[i / sequence_.rows()]);
      if (norm > 0.0) x[i] = to_fp32(z[i] / norm);
    }
  }

  /// Sums of a * b for each head; both (heads, rows).
  std::vector<double> sums_of(std::vector<double> const& a, std::vector<double> const& b) const {
    auto const rows = sequence_.rows();
    std::vector<double> products(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) products[i % rows * heads_ + i / rows] = a[i] * b[i];
    return exact_sums(sequence_.comm(), products, heads_, sequence_.item().n);
  }

  /// Notes what the step found. Returns whether all heads have converged.
  bool take(std::int64_t step, std::vector<float> const& x, std::vector<float> const& y, std::vector<double> const& z) {
    std::vector<double> const vector(x.begin(), x.end());
    std::vector<double> squares;
    for (double const value : y) squares.push_back(value * value);
    auto const yy = exact_sums(sequence_.comm(), squares, heads_, sequence_.item().n);
    auto const xx = sums_of(vector, vector), xz = sums_of(vector, z);
    std::vector<double> difference(z.size());
    for (std::size_t i = 0; i < z.size(); ++i) {
      auto const h = i / sequence_.rows();
      difference[i] = z[i] - yy[h] / xx[h] * vector[i];
    }
    auto const rr = sums_of(difference, difference);
    bool all = true;
    for (std::size_t h = 0; h < heads_; ++h) {
      auto& norm = norms_[h];
      if (norm.converged) continue;
      double const square = yy[h] / xx[h];
      norm.spectral = std::sqrt(square);
      norm.residual = square > 0.0 ? std::sqrt(rr[h] / xx[h]) / square : 0.0;
      norm.adjoint = yy[h] > 0.0 ? std::fabs(yy[h] - xz[h]) / yy[h] : std::fabs(xz[h]);
      norm.iterations = step;
      norm.converged = std::fabs(norm.spectral - last_[h]) <= 1e-6 * norm.spectral;
      last_[h] = norm.spectral;
      all = all && norm.converged;
    }
    return all;
  }

  RingSequence const& sequence_;
  DifferenceRing& matrix_;
  std::vector<DifferenceNorms>& norms_;
  std::size_t heads_;
  std::vector<double> last_;
};

/// Normal numbers, by the place in the sequence: the same for every head, whatever the ranks.
std::vector<float> start_vector(RingSequence const& sequence, std::size_t heads, Stream stream) {
  std::vector<float> one;
  for (auto const& run : sequence.runs(sequence.comm().rank())) {
    for (auto position = run.begin; position < run.end; ++position) normal_row(stream, position, 1, &one.emplace_back());
  }
  std::vector<float> all;
  for (std::size_t h = 0; h < heads; ++h) all.insert(all.end(), one.begin(), one.end());
  return all;
}

}  // namespace

DifferenceResult difference_norms(RingSequence& sequence, TopKAttention const& top_k, std::uint64_t seed, std::int64_t draw,
                                  std::int64_t most_iterations, AttendTimes& times) {
  DifferenceResult result;
  result.norms.resize(sequence.item().k.size());
  DifferenceRing matrix(sequence, top_k, times);
  result.tail_mass = matrix.find_tails(top_k, result);
  auto const& item = sequence.item();
  auto const stream = tensor_stream(seed, draw, item.n, item.d, Tensor::start);
  PowerIteration(sequence, matrix, result.norms).run(start_vector(sequence, matrix.heads(), stream), most_iterations);
  return result;
}

}  // namespace asymptop

#endif
