#include "attend/quantities.hpp"

#include "kernels/core/fixed_point.hpp"

namespace asymptop {

std::vector<Quantity<MeasuredAttention>> attend_quantities(MeasuredAttention const& measured) {
  using C = MeasuredAttention const&;
  using Any = h5::AnyAttribute;
  std::vector<Quantity<MeasuredAttention>> all{{"id", [](C c) -> Any { return c.item.id; }},
                                               {"n", [](C c) -> Any { return c.item.n; }},
                                               {"d", [](C c) -> Any { return c.item.d; }},
                                               {"sigma_law", [](C c) -> Any { return c.item.sigma_law; }},
                                               {"sigma", [](C c) -> Any { return c.item.sigma; }},
                                               {"head", [](C c) -> Any { return c.item.head; }},
                                               {"mask", [](C c) -> Any { return name_of(c.item.mask); }},
                                               {"path", [](C c) -> Any { return c.item.exact_path->name; }},
                                               {"draws", [](C c) -> Any { return std::ssize(c.draws); }},
                                               {"k_clipped", [](C c) -> Any { return std::int64_t{c.item.k_clipped}; }},
                                               {"ranks", [](C c) -> Any { return std::int64_t{c.ranks}; }},
                                               {"groups", [](C c) -> Any { return std::int64_t{c.teams}; }},
                                               {"threads", [](C c) -> Any { return std::int64_t{c.threads}; }},
                                               {"visible_pairs", [](C c) -> Any { return c.item.visible_pairs(); }},
                                               {"exact_gflops", [](C c) -> Any { return c.exact_gflops(); }},
                                               {"top_k_gflops", [](C c) -> Any { return c.top_k_gflops(); }},
                                               {"peak_bytes_per_rank", [](C c) -> Any { return c.peak_bytes_per_rank; }},
                                               {"verdict", [](C c) -> Any { return c.verdict(); }},
                                               {"verdict_reason", [](C c) -> Any { return c.verdict_reason(); }}};
  if (measured.item.device_bytes > 0.0) {
    all.insert(all.end(), {{"device_peak_bytes", [](C c) -> Any { return to_integer(c.device_peak_bytes); }},
                           {"device_planned_bytes", [](C c) -> Any { return to_integer(c.item.device_bytes); }}});
  }
  return all;
}

}  // namespace asymptop
