// Running sums of e^y and its square along an order of a row's keys, from both ends: what every kept set keeps and what it drops.
#pragma once

#include <cstddef>
#include <vector>

#include "../profile/score_bins.hpp"

namespace asymptop {

/// All relative to the row's largest score. Place i is a key, then a block of keys that are known by their sums alone (none, where a block
/// is empty); the i-th kept set ends just before key i, so with block i - 1 dropped.
struct SumsAlong {
  std::vector<double> e;                   ///< e^y of each key
  std::vector<double> kept1, kept2;        ///< (keys + 1): of all before the cut
  std::vector<double> dropped1, dropped2;  ///< (keys + 1): of all behind it, added from the far end: never total minus kept
};

/// exponential(i): e^y of key i; block(i): sums over the block after it.
template <class Exponential, class Block>
SumsAlong sums_along(std::size_t keys, Exponential const& exponential, Block const& block) {
  SumsAlong sums;
  sums.e.resize(keys);
  for (auto* list : {&sums.kept1, &sums.kept2, &sums.dropped1, &sums.dropped2}) list->assign(keys + 1, 0.0);
  double before1 = 0.0, before2 = 0.0;
  for (std::size_t i = 0; i < keys; ++i) {
    double const e = sums.e[i] = exponential(i);
    sums.kept1[i + 1] = before1 + e;
    sums.kept2[i + 1] = before2 + e * e;
    before1 = sums.kept1[i + 1] + block(i).z1;
    before2 = sums.kept2[i + 1] + block(i).z2;
  }
  double after1 = 0.0, after2 = 0.0;
  for (std::size_t i = keys; i-- > 0;) {
    sums.dropped1[i + 1] = after1 + block(i).z1;
    sums.dropped2[i + 1] = after2 + block(i).z2;
    after1 = sums.dropped1[i + 1] + sums.e[i];
    after2 = sums.dropped2[i + 1] + sums.e[i] * sums.e[i];
  }
  sums.dropped1[0] = after1;
  sums.dropped2[0] = after2;
  return sums;
}

}  // namespace asymptop
