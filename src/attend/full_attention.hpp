// Full attention of one case: every row of the sequence over every key that it sees, exact and top-k, and how far they are apart.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "attend/config.hpp"
#include "attend/plan.hpp"
#include "attend/ring_sequence.hpp"
#include "comm/communicator.hpp"
#include "kernels/core/candidate.hpp"
#include "row/residual.hpp"

namespace asymptop {

/// Top-k attention of this rank's rows for every k of the case, and what their heads add up to.
struct TopKAttention {
  std::vector<float> output;  ///< (k, rows, d)
  std::vector<float> max;     ///< (rows): largest score
  // (rows, k):
  std::vector<Candidate> edge;         ///< last key of the head
  std::vector<double> weight, square;  ///< sums of e^y and e^{2y} over the head, y = sigma (s - max)
  std::vector<double> error;           ///< relative error of the output, where the exact one is known
};

/// Norms of the difference matrix D = P - P_hat at one k.
struct DifferenceNorms {
  double spectral = 0.0;     ///< ‖D x‖ for the last unit vector x of the power iteration: a lower bound of ‖D‖_2
  double frobenius = 0.0;    ///< ‖D‖_F
  double largest_row = 0.0;  ///< largest ‖D_i‖_2, also a lower bound of ‖D‖_2
  double residual = 0.0;     ///< ‖D^T D x - s^2 x‖ / s^2: some singular value lies within s sqrt(1 +- residual)
  double adjoint = 0.0;      ///< |‖D x‖^2 - x . D^T (D x)| / ‖D x‖^2: the two products agree
  std::int64_t iterations = 0;
  bool converged = false;  ///< changed by less than 1e-6 in the last step
};

struct DifferenceResult {
  std::vector<DifferenceNorms> norms;  ///< (k)
  std::vector<double> tail_mass;       ///< (rows, k) of this rank
  std::int64_t miscounted = 0;         ///< |keys counted in heads - keys that heads should have|, summed over rows and k
};

/// What one draw leaves; the same on all ranks.
struct AttendDraw {
  std::array<double, attend_phase_names.size()> phase_seconds{};  ///< slowest rank
  double exact_seconds = 0.0, top_k_seconds = 0.0;                ///< wall time of the slowest rank, exchange included
  std::vector<double> output_error;                               ///< (k): relative, mean over rows
  std::vector<DifferenceNorms> norms;                             ///< (k)
  std::vector<Residual> residuals;
  double bytes_sent = 0.0;  ///< keys and values, by all ranks
};

// Steps of a draw. All are collective.
/// Into sequence.exact(), which is returned.
ExactAttention const& exact_attention(RingSequence& sequence, AttendTimes& times);
/// exact: of the same draw, or null. Batches of rows take keys round for the selection and values for the sums.
TopKAttention top_k_attention(RingSequence& sequence, ExactAttention const* exact, AttendTimes& times);
DifferenceResult difference_norms(RingSequence& sequence, TopKAttention const& top_k, std::uint64_t seed, std::int64_t draw,
                                  std::int64_t most_iterations, AttendTimes& times);
/// A few rows computed again in fp64: the first, the last and two by draw, by all ranks over their own keys. Null for what was not
/// measured.
///   keys_seen        keys that went into exact attention, over all rows: a count
///   exact_output, sum_p       ‖output - reference‖ / ‖reference‖; |1 - sum of p|
///   scores, top_k_count, top_k_output      fp32 scores; keys up to the edge of a head, counted apart; output over them
///   tail_mass, norms_adjoint, norms_order  tails; the products with D and D^T agree; largest row <= spectral <= Frobenius
///   finite           numbers that are not, over all rows: a count
std::vector<Residual> check_draw(RingSequence& sequence, std::int64_t draw, ExactAttention const* exact, TopKAttention const* top_k,
                                 DifferenceResult const* difference);

/// Takes the outputs of a draw, on every rank those of its rows; null for what was not measured.
using SaveOutputs = std::function<void(ExactAttention const*, TopKAttention const*)>;

/// One draw of a case. `save` may be empty.
AttendDraw run_attend_draw(AttendConfig const& config, RingSequence& sequence, std::int64_t draw, SaveOutputs const& save);

/// Brings draws together on rank 0, in the order of their ranks: `own` of each rank that has one, null elsewhere. Collective; empty on
/// other ranks.
std::vector<AttendDraw> gather_draws(Communicator const& comm, AttendDraw const* own);

}  // namespace asymptop
