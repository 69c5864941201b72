// Keys and queries in 8 bits, and the bound that certifies what their products say about fp32 scores.
//
// A group of 32 keys shares one scale z: key k becomes the integers k'_c = round(z k_c), |k'_c| <= 127, and rho = z k - k' is what rounding
// left. A query q has a scale of its own: q' = round(q / a), |q'_c| <= 127 or less, phi = q / a - q'. Let b = 1 / z, u = 2^-24, D = q' . k'
// (an integer), and s the fp32 score, a chain of d fused multiply-adds (panel.hpp). Then
//
//   |s / (a b) - D| <= |q.k / (a b) - D| + |s - q.k| / (a b)
//                   <= |phi . k'| + |q / a . rho| + (gamma_d ||q|| ||k|| + eta) / (a b)                gamma_d = d u / (1 - d u)
//                   <= F ||k'|| + A (||rho|| + gamma_d ||z k||) + eta / (a b)      A >= ||q|| / a,  F >= ||phi||
//
// because q.k / (a b) = (q' + phi) . k' + (q / a) . rho, and the chain's result is sum q_c k_c (1 + theta_c) + sum eta_c (1 + theta'_c),
// |theta| <= gamma_d, |eta_c| <= 2^-150 (what underflow adds), as long as nothing overflows: eta = d 2^-149. Partial sums stay below
// 1.01 ||q|| ||k||; where that could reach 2^127 no bound is claimed and every key is let through.
//
// With one scale for the group the test of a key is a comparison of D with a number that is made once per row and group: sums start at
// minus it, and a sign tells the rest. Scales of their own would tighten the bound (0.095 sigma for 0.115 at d = 64) at the price of a
// conversion, a multiplication, two additions and a comparison for each score, a quarter of the time.
//
// With N and E the group's largest ||k'|| and ||rho|| + gamma_d ||z k||, a key's score can only be above T if
//
//   D > (T - eta) / a z - A E - F N =: x.
//
// What is computed: t = fl(z k) differs from z k by at most 128 u, t - k' is exact, sums of squares carry a relative error of gamma_d and
// d 2^-149, and all of it is added before rounding up (group_bound). P <= (T - eta) / a is lowered by 8 u |P|, A and F are raised by 8 u,
// and sigma = 2^-10 pays for underflow, so w = fl(A E + fl(F N + sigma)) >= (1 + 4 u) (A_true E + F_true N) + sigma / 2 and
// fl(P z - w) <= P z - w + u (|P| z + w) + 2^-150 <= x. The test D > rint(fl(x)) - 1 therefore lets through every D > x; x beyond +-C,
// C > 16129 d >= |D|, is clamped. A zero query has A = F = sigma = eta = 0, D = s = 0, and x is exact.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "../core/simd.hpp"
#include "../core/types.hpp"
#include "panel.hpp"

namespace asymptop {

/// Largest number of columns whose sums fit 32 bits all the way: from -x - 128 sum q' to D - x they stay below 32386 d + 200.
inline constexpr int quantised_max_d = 65536;

/// What the test of a group of keys needs, in units of the group's scale; see the top of this file.
struct KeyGroupBound {
  float scale;         ///< z
  float residual;      ///< E
  float norm;          ///< N
  float largest_norm;  ///< at least the norm of every key, not scaled; +inf where that overflows
};

/// How the bytes of a group lie: [step of four columns][key % 32][4], or [key % 32][step][4], as products of tiles want them.
enum class GroupLayout { by_columns, by_keys };

/// Quantised keys from some group on: bytes k' + 128, 128 past the last column, up to a multiple of four.
struct QuantisedKeys {
  std::uint8_t const* values = nullptr;
  KeyGroupBound const* bounds = nullptr;

  /// From `groups` groups further on.
  QuantisedKeys from(std::int64_t groups, int d) const { return {values + groups * key_group * ((d + 3) / 4 * 4), bounds + groups}; }
};

/// Bytes and bounds that `keys` quantised keys of d columns take.
inline std::size_t quantised_size(std::int64_t keys, int d) { return packed_size(keys, (d + 3) / 4 * 4); }
inline std::size_t quantised_groups(std::int64_t keys) { return (keys + key_group - 1) / key_group; }

/// The nearest fp32 number that is not below (above) x; x beyond the range becomes infinite (the largest number).
inline float round_up(double x) {
  constexpr double largest = std::numeric_limits<float>::max();
  if (!(x <= largest)) return std::numeric_limits<float>::infinity();
  auto const f = static_cast<float>(x);
  return f < x ? std::nextafter(f, std::numeric_limits<float>::infinity()) : f;
}
inline float round_down(double x) {
  constexpr float largest = std::numeric_limits<float>::max();
  return x >= largest ? largest : -round_up(-x);
}

/// gamma_d.
inline double chain_error(int d) {
  double const du = d * 0x1p-24;
  return du / (1.0 - du);
}

/// Bounds of a group from the scale and the largest fp32 sums of squares of its keys' residuals and integers.
inline KeyGroupBound group_bound(float scale, float residual_squares, float integer_squares, int d) {
  double const gamma = chain_error(d), more = 1.0 + 1e-12;
  double const rounding = std::sqrt((residual_squares + d * 0x1p-149) * (1.0 + 2.0 * gamma)) + std::sqrt(d) * 0x1p-17;
  double const norm = std::sqrt(integer_squares * (1.0 + 2.0 * gamma));
  return {scale, round_up((rounding + gamma * (norm + rounding)) * more), round_up(norm * more),
          round_up((norm + rounding) / scale * more)};
}

/// A batch of query rows in 8 bits, cut into panels. Arrays of a panel have panel_lanes places, zeros past its rows.
struct QuantisedQueries {
  static constexpr int panel_lanes = 16;
  struct Rows {
    int first_row, rows;
  };
  struct alignas(64) Panel {
    float bound[panel_lanes];         ///< P of the row's current threshold
    float size[panel_lanes];          ///< A
    float residual[panel_lanes];      ///< F
    float slack[panel_lanes];         ///< sigma
    std::int32_t shift[panel_lanes];  ///< 128 * sum of q', what the bytes' offset adds to a product
    double unit[panel_lanes];         ///< a
    double underflow[panel_lanes];    ///< eta
    int first_row, rows;

    /// Sets P for a row whose scores are wanted above `threshold`, -inf included; +inf: none are.
    void set_threshold(int row, float threshold) {
      double const exact = (threshold - underflow[row]) / unit[row];
      bound[row] = threshold == std::numeric_limits<float>::infinity() ? threshold : round_down(exact - std::fabs(exact) * 0x1p-21);
    }
  };
  int d = 0;
  int steps = 0;              ///< groups of four columns
  float reach = 0.0f;         ///< C
  float largest_norm = 0.0f;  ///< of a key that bounds are claimed for
  std::vector<Panel> panels;
  std::vector<std::size_t> offset;  ///< of a panel in `bytes`
  /// Four columns of a row in 32 bits, at [panel][step][row]; for tiles of bytes rows are always panel_lanes, zeros past the last, and
  /// start at cache lines.
  Vector<Kokkos::HostSpace, std::int32_t> bytes;

  QuantisedQueries() = default;
  /// The panels of `queries`.
  QuantisedQueries(PackedQueries const& queries, int levels) : QuantisedQueries(queries, panels_of(queries), false, levels) {}
  /// Panels of at most panel_lanes rows; tiles: laid out for products of tiles; levels: the largest |q'_c|, 1 to 127. Throws
  /// std::invalid_argument above quantised_max_d columns.
  QuantisedQueries(PackedQueries const& queries, std::vector<Rows> const& cut, bool tiles, int levels)
      : d(queries.d), steps((queries.d + 3) / 4) {
    if (d > quantised_max_d)
      throw std::invalid_argument("screening takes at most " + std::to_string(quantised_max_d) + " columns, not " + std::to_string(d));
    reach = static_cast<float>((16129.0 * d + 2.0) * (1.0 + 0x1p-20));
    auto const lanes = [=](Rows const& rows) { return tiles ? panel_lanes : rows.rows; };
    std::size_t words = 0;
    for (auto const& rows : cut) {
      offset.push_back(words);
      words += steps * lanes(rows);
    }
    bytes = Vector<Kokkos::HostSpace, std::int32_t>("Asymptop::score::queries", words);
    double largest = 0.0;
    for (auto const& rows : cut) {
      auto* const to = bytes.data() + offset[panels.size()];
      int const row_count = lanes(rows);
      auto& panel = panels.emplace_back();
      panel.first_row = rows.first_row;
      panel.rows = rows.rows;
      for (int r = 0; r < rows.rows; ++r) {
        auto const place = [&](int step) { return step * row_count + r; };
        largest = std::max(largest, add_row(queries, panel, r, levels, to, place));
      }
      // Nothing passes of rows that are not there.
      for (int r = rows.rows; r < panel_lanes; ++r) panel.shift[r] = 2 * (16129 * d + 200);
    }
    largest_norm = round_down(0x1p126 / largest);
  }

 private:
  static std::vector<Rows> panels_of(PackedQueries const& queries) {
    std::vector<Rows> cut;
    for (auto const& panel : queries.panels) cut.push_back({panel.first_row, panel.rows});
    return cut;
  }

  /// Quantises one row, to words[place(step)], and returns a bound on its norm.
  template <class Place>
  double add_row(PackedQueries const& queries, Panel& to, int row, int levels, std::int32_t* words, Place const& place) {
    auto const at = queries.row(to.first_row + row);
    double largest = 0.0, squares = 0.0, residuals = 0.0;
    for (int c = 0; c < d; ++c) largest = std::max<double>(largest, std::fabs(at(c)));
    double const unit = std::max(largest / levels, 0x1p-100);
    std::int32_t sum = 0;
    for (int c = 0; c < d; ++c) {
      double const x = at(c) / unit, rounded = std::nearbyint(x);
      squares += x * x;
      residuals += (x - rounded) * (x - rounded);
      auto const integer = static_cast<std::int32_t>(rounded);
      sum += integer;
      words[place(c / 4)] |= (integer & 0xffu) << (8 * (c % 4));
    }
    // fp64 sums of squares of x: relative errors below 1e-10, absolute ones of x itself below 1e-13.
    double const norm = std::sqrt(squares) * (1.0 + 1e-10);
    to.size[row] = round_up(norm * (1.0 + 0x1p-21));
    to.residual[row] = norm == 0.0 ? 0.0f : round_up((std::sqrt(residuals) * (1.0 + 1e-10) + 1e-9) * (1.0 + 0x1p-21));
    to.slack[row] = norm == 0.0 ? 0.0f : 0x1p-10f;
    to.shift[row] = 128 * sum;
    to.unit[row] = unit;
    to.underflow[row] = norm == 0.0 ? 0.0 : d * 0x1p-149;
    return norm * unit;
  }
};

inline namespace ASYMPTOP_SIMD_NAME {

/// Quantises one packed group.
inline KeyGroupBound quantise_group(float const* packed, int d, GroupLayout layout, std::uint8_t* out) {
  using namespace simd;
  int const steps = (d + 3) / 4;
  Floats extreme{};
  for (int i = 0; i < key_group * d; i += width) {
    Floats const x = load(packed + i);
    extreme = larger(extreme, larger(x, -x));
  }
  float largest = 0.0f;
  for (int l = 0; l < width; ++l) largest = std::max(largest, extreme[l]);
  float const scale = largest > 127.0f * 0x1p-100f ? 127.0f / largest : 0x1p100f;
  float residual_squares = 0.0f, integer_squares = 0.0f;
  for (int l = 0; l < key_group; l += width) {
    Floats residual{}, integer{};
    for (int step = 0; step < steps; ++step) {
      Ints word = broadcast(static_cast<std::int32_t>(0x80808080u));
      for (int c = 4 * step; c < std::min(d, 4 * step + 4); ++c) {
        Floats const t = load(packed + c * key_group + l) * broadcast(scale);
        Ints const rounded = to_nearest(t);
        Floats const k = __builtin_convertvector(rounded, Floats), rest = t - k;
        residual = fma(rest, rest, residual);
        integer = fma(k, k, integer);
        // A byte plus 128 is the byte with its sign flipped.
        word ^= (rounded & broadcast(0xff)) << (8 * (c % 4));
      }
      auto* const words = reinterpret_cast<std::int32_t*>(out);
      if (layout == GroupLayout::by_columns) {
        store(words + step * key_group + l, word);
      } else {
        for (int i = 0; i < width; ++i) words[(l + i) * steps + step] = word[i];
      }
    }
    for (int i = 0; i < width; ++i) {
      residual_squares = std::max(residual_squares, residual[i]);
      integer_squares = std::max(integer_squares, integer[i]);
    }
  }
  return group_bound(scale, residual_squares, integer_squares, d);
}

/// Quantises `count` packed keys of d columns, as `layout` has it, into quantised_size() bytes and quantised_groups() bounds.
template <class Space>
void quantise_keys(Space const& space, float const* packed, std::int64_t count, int d, GroupLayout layout, std::uint8_t* values,
                   KeyGroupBound* bounds) {
  static_assert(is_host_space<Space>, "quantised keys are for host kernels");
  Kokkos::parallel_for("Asymptop::score::quantise", Kokkos::RangePolicy<Space>(space, 0, quantised_groups(count)),
                       [=](std::size_t const g) {
                         bounds[g] = quantise_group(packed + g * key_group * d, d, layout, values + g * key_group * ((d + 3) / 4 * 4));
                       });
}

}  // namespace ASYMPTOP_SIMD_NAME
}  // namespace asymptop
