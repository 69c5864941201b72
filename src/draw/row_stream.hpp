// Random variates of a simulated row: counter-based, so that a row's numbers depend on what it is called and on nothing else.
#pragma once

#include <Random123/philox.h>

#include <Random123/conventional/Engine.hpp>
#include <boost/random/exponential_distribution.hpp>
#include <boost/random/normal_distribution.hpp>
#include <boost/random/uniform_01.hpp>
#include <cmath>
#include <cstdint>

namespace asymptop {

/// What tells one simulated row from all others. Rows of one draw are independent too.
struct RowName {
  std::uint64_t seed = 0;
  std::int64_t n = 0, d = 0, draw = 0, row = 0;
};

/// The row's own stream of Philox4x64-10 words.
class RowStream {
 public:
  explicit RowStream(RowName const& name) : engine_(key_of(name.seed, name.d)) {
    // The engine counts in the first word.
    std::uint64_t const n = name.n, draw = name.draw, row = name.row;
    engine_.setcounter({{0u, n, draw, row}}, 0u);
  }

  /// In (0, 1].
  double uniform() { return 1.0 - boost::random::uniform_01<double>()(engine_); }
  double normal() { return boost::random::normal_distribution<double>()(engine_); }
  double exponential() { return boost::random::exponential_distribution<double>()(engine_); }

  /// Gamma(shape, 1) for any positive shape: Marsaglia and Tsang, ACM TOMS 26 (2000) 363. Libraries' versions end in a difference of
  /// numbers of the shape's size, which has no digit left at shapes of 2^60; here it is a remainder of log(1 + t), small as it is.
  double gamma(double shape) {
    if (shape < 1.0) {
      double const part = std::pow(uniform(), 1.0 / shape);
      return part * gamma(shape + 1.0);
    }
    double const d = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
    for (;;) {
      double const t = c * normal(), u = uniform();
      if (t > -1.0 && std::log(u) < 3.0 * d * log_remainder(t)) return d * (1.0 + t) * (1.0 + t) * (1.0 + t);
    }
  }
  double gamma(std::int64_t shape) { return gamma(static_cast<double>(shape)); }

 private:
  using Philox = r123::Philox4x64;

  static Philox::ukey_type key_of(std::uint64_t seed, std::uint64_t d) { return {{seed, d}}; }

  /// log(1 + t) - t + t^2/2 - t^3/3.
  static double log_remainder(double t) {
    double const t4 = t * t * t * t;
    if (std::fabs(t) < 0.01) return t4 * (-1.0 / 4.0 + t * (1.0 / 5.0 + t * (-1.0 / 6.0 + t * (1.0 / 7.0 - t / 8.0))));
    return std::log1p(t) - t + t * t / 2.0 - t * t * t / 3.0;
  }

  r123::Engine<Philox> engine_;
};

}  // namespace asymptop
