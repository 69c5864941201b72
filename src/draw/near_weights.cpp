#include "draw/near_weights.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/core/counts.hpp"
#include "kernels/score/softcap.hpp"

namespace asymptop {
namespace {

Range common(Range const& a, Range const& b) {
  return {std::max(a.begin, b.begin), std::max(std::max(a.begin, b.begin), std::min(a.end, b.end))};
}

}  // namespace

NearWeights near_weights(DrawIdentity const& identity, TensorLayer const& layer, QueryRows const& rows, std::vector<float> const& offset,
                         std::vector<double> const& log_sum_exp) {
  auto const& config = *identity.config;
  auto const context = identity.context();
  std::size_t const d = identity.group->d;
  std::vector<Range> first, recent;
  for (std::size_t i = 0; i < rows.rows(); ++i) {
    Range const seen{rows.from[i], rows.from[i] + rows.visible[i]};
    auto const own = rows.position[i] - context.begin + 1;
    first.push_back(common(seen, {0, config.first_keys}));
    recent.push_back(common(seen, {own - config.recent_keys, own}));
  }
  // Pieces of the keys that some row wants, one after another; each row adds up its own in ascending order.
  auto const sums = [&](std::vector<Range> const& wanted) {
    constexpr GlobalIndex piece = 4096;
    std::vector<double> sum(wanted.size(), 0.0);
    Range all{identity.group->n, 0};
    for (auto const& keys : wanted) {
      if (keys.size() > 0) all = {std::min(all.begin, keys.begin), std::max(all.end, keys.end)};
    }
    std::vector<float> keys(std::max<GlobalIndex>(0, std::min(piece, all.end - all.begin)) * d);
    for (auto begin = all.begin; begin < all.end; begin += piece) {
      Range const here{begin, std::min(all.end, begin + piece)};
      layer.read_keys(identity.group->head, context.begin + here.begin, here.size(), keys.data());
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        auto const own = common(wanted[i], here);
        for (auto key = own.begin; key < own.end; ++key) {
          double logit = 0.0;
          float const* const k = &keys[(key - here.begin) * d];
          for (std::size_t c = 0; c < d; ++c) logit += double{rows.q[i * d + c]} * (offset.empty() ? k[c] : double{k[c]} - offset[c]);
          logit += rows.raised_by(i);
          if (identity.group->form.softcap > 0.0) logit = softcapped(logit, identity.group->form.softcap);
          logit += identity.group->slope() * exact_double(key - (rows.position[i] - context.begin));
          sum[i] += std::exp(logit - log_sum_exp[i]);
        }
      }
    }
    return sum;
  };
  return {sums(first), sums(recent)};
}

}  // namespace asymptop
