#include "comm/merge/threshold_cuts.hpp"

#include <algorithm>

namespace asymptop {
namespace {

constexpr std::uint32_t unbounded = ~std::uint32_t{0};

}  // namespace

std::vector<std::uint32_t> sampled_places(std::uint32_t length) {
  std::vector<std::uint32_t> places;
  for (std::uint32_t place = 1; place < length; place += std::max(1u, place / 5)) places.push_back(place);
  if (length > 0) places.push_back(length);
  return places;
}

std::vector<Cut> find_cuts(std::vector<Samples> const& samples, std::size_t keep) {
  std::size_t candidates = 0;
  std::vector<std::uint64_t> order;  // better scores first, then lower ranks, then earlier places
  for (std::size_t r = 0; r < samples.size(); ++r) {
    auto const& places = samples[r].places;
    candidates += places.empty() ? 0 : places.back();
    for (std::size_t i = 0; i < places.size(); ++i) order.push_back((std::uint64_t{~samples[r].bits[i]} << 32) | (r << 16) | i);
  }
  std::vector<Cut> cuts(samples.size(), Cut{0, unbounded});
  if (candidates <= keep) return cuts;
  std::sort(order.begin(), order.end());
  std::size_t sure = 0;
  for (auto const sample : order) {
    std::size_t const rank = sample >> 16 & 0xffff, i = sample & 0xffff;
    auto const& places = samples[rank].places;
    sure += places[i] - (i > 0 ? places[i - 1] : 0);
    if (sure < keep) continue;
    // Ranks after the sample's send only what is better than its score, those before it what is as good.
    auto const bits = samples[rank].bits[i];
    for (std::size_t r = 0; r < cuts.size(); ++r) cuts[r] = {r > rank ? bits + 1 : bits, unbounded};
    cuts[rank].most = places[i];
    break;
  }
  return cuts;
}

}  // namespace asymptop
