// Rows of n independent standard normal scores without the scores: the largest one by one, the others as order statistics with blocks
// of keys between them, so that n may be 2^62.
//
// Upper tail probabilities Q_1 < Q_2 < ... < Q_n of the scores, best first, are the order statistics of n uniform numbers. Given the
// k-th, the other n - k are uniform in (Q_k, 1), so that, exactly and for any step r (Renyi 1953; Devroye 1986, ch. V),
//     Q_{k+r} = Q_k + (1 - Q_k) B,   B ~ Beta(r, n - k - r + 1);   for r = 1:  1 - B = exp(-E / (n - k)), E ~ Exp(1).
// Q and 1 - Q are both carried, each as a sum or product of positive numbers, and z = Phi_c^{-1}(Q) is taken from the smaller one:
// scores have a relative error of about 1e-13 from one end of the row to the other.
//
// Ranks 1 to 4096, every k that is asked for with its successor, and 8 ranks per doubling between are drawn so. The m keys of a block
// between two of them are, given these two, independent and distributed as the normal law between z_low and z_high. A function f of the
// score, summed over them, is represented on Gauss-Legendre nodes z_j of that interval by positive random counts,
//     sum f = sum_j c_j f(z_j),   c = m * Dirichlet((m - 1) pi),   pi_j = w_j phi(z_j) / sum_i w_i phi(z_i),
// whose mean m pi and covariance m (diag(pi) - pi pi^T) are those of m keys thrown onto the nodes. So the sums of e^s, e^2s, s e^s, s
// and s^2, for all sigma at once, have their conditional means and all their covariances right, up to:
// - quadrature: 15 nodes in panels of widths w, 2w, 4w, ... from the block's upper end, w <= 1/4; relative error of the means and
//   covariances of e^s and e^2s below 1e-9 while sigma (block width or 1/4) <= 10, which covers sigma <= log n at n = 2^60. Beyond that it
//   grows only where e^s falls by e^10 within a block, so in sums that are tiny next to the row's; every case checks itself against 30
//   nodes. The last block is cut where phi has fallen to e^-40 of its value at the block's top (or at 0, if that is higher).
// - the shape of the distribution: third cumulants of a block's sum are about twice the true ones, so distribution functions are off by
//   O(1 / sqrt(m_eff)), m_eff >= 256 keys or as many of them as carry the sum. Means and standard errors of sums do not notice.
// Two keys less than 256 ranks apart have all ranks between them drawn, so a row of up to 4096 keys is exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "draw/row_stream.hpp"

namespace asymptop {

/// How finely rows are resolved. Runs use the defaults; tests choose coarser ones, where errors would show.
struct Resolution {
  std::int64_t head = 4096;           ///< largest scores, drawn one by one
  double ranks_per_octave = 8.0;      ///< drawn beyond them
  std::int64_t smallest_block = 256;  ///< fewer keys than this are drawn one by one
};

/// The ranks that are drawn in every row of a case group.
struct DrawnRanks {
  std::int64_t n = 0;
  std::vector<std::int64_t> rank;       ///< ascending, from 1
  std::vector<std::size_t> place_of_k;  ///< k_i = rank[place_of_k[i]]; its successor is drawn too, unless k_i = n
  /// Keys of the block after rank[i], which ends before rank[i + 1] or with the row.
  std::int64_t block(std::size_t i) const { return (i + 1 < rank.size() ? rank[i + 1] - 1 : n) - rank[i]; }
  /// In fp64, to nearest: from 2^53 keys on the last digits go.
  double keys_of_block(std::size_t i) const { return static_cast<double>(block(i)); }
  double all_keys() const { return keys_after(0); }
  double keys_after(std::int64_t drawn) const { return static_cast<double>(n - drawn); }
};

/// k: ascending, in [1, n].
DrawnRanks drawn_ranks(std::int64_t n, std::vector<std::int64_t> const& k, Resolution const& resolution = {});

/// Scores and how many keys have them.
struct Nodes {
  std::vector<double> z, weight;
};

/// The standard normal law between two scores: nodes whose weights sum to 1, and log of the integral of e^(-z^2/2).
struct NormalPart {
  Nodes nodes;
  double log_mass;
};

/// low may be -infinity.
NormalPart normal_part(double high, double low, bool doubled = false);

/// `low`, or where the law below `high` is cut off.
double cut_off(double high, double low);

/// One row.
struct OrderStatistics {
  std::vector<double> z;                ///< of every drawn rank, descending
  std::vector<std::size_t> first_node;  ///< of the block after each of them; one more at the end
  Nodes nodes;                          ///< of all blocks, best first; weights are the random counts
  double deviate = 0.0;                 ///< a standard normal number for questions inside blocks
};

OrderStatistics draw_order_statistics(DrawnRanks const& ranks, RowStream& stream);

}  // namespace asymptop
