// What rows of synthetic keys and queries are distributed as.
#pragma once

#include <cmath>
#include <cstdint>

namespace asymptop {

enum class Distribution : std::uint8_t { gaussian, uniform, rademacher, sphere, student, ar1, clusters, needle };

/// A distribution with its parameters. Rows have mean 0 and covariance I unless said:
///   gaussian    independent standard normals
///   uniform     independent, uniform on [-sqrt(3), sqrt(3)]
///   rademacher  independent, -1 or 1
///   sphere      a normal row scaled to norm sqrt(d), as after layer normalisation
///   student     independent, Student's t of `parameter` = nu >= 1 degrees of freedom, over its standard deviation sqrt(nu / (nu - 2));
///               for nu <= 2, where there is none, as it is: of scale 1
///   ar1         normal rows correlated in time: E x_s x_t = rho^|s - t| I, rho = `parameter`
///   clusters    centre of one of `parameter` clusters, equally likely, plus `spread` times normals. The draw's centres have mean 0 and
///               mean square norm d (1 - spread^2): given them, the trace of the covariance is d, but it is I on average alone
///   needle      normal rows; one key for each query row is planted so that it stands `parameter` over sqrt(2 log n), both in units of
///               the standard deviation of that query's scores
struct InputKind {
  Distribution distribution = Distribution::gaussian;
  double parameter = 0.0;
  double spread = 0.0;

  bool operator==(InputKind const&) const = default;
  bool is(Distribution other) const { return distribution == other; }

  /// B: the bound of a bounded input's coordinates, and the standard deviation of others (the scale, where there is none).
  double coordinate_bound(std::int64_t d) const {
    if (is(Distribution::uniform)) return std::sqrt(3.0);
    if (is(Distribution::sphere)) return std::sqrt(d);
    return 1.0;
  }
};

}  // namespace asymptop
