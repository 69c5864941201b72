#include "precision/captured_rows.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <cmath>

namespace asymptop {

ContextPlan plan_captured_rows(LayerShape const& layer, std::int64_t texts, Mask mask, std::int64_t n) {
  ContextPlan plan;
  plan.kind = Contexts::places;
  plan.n = n;
  plan.texts = std::max<std::int64_t>(1, texts);
  auto const first_query = layer.n - layer.m, first = std::max(mask == Mask::causal ? n - 1 : 0, first_query);  // row that sees n keys
  plan.tail = std::clamp<std::int64_t>(layer.n - first, 0, std::max<std::int64_t>(1, n / 8));
  plan.first_end = std::max(mask == Mask::causal ? std::int64_t{0} : n, first + plan.tail);
  plan.last_end = layer.n;
  if (plan.tail > 0) plan.ends = std::max<std::int64_t>(0, plan.last_end - plan.first_end) / plan.tail + 1;
  return plan;
}

CapturedRow captured_row(CapturedHead const& head, std::int64_t rows, std::int64_t draw, std::int64_t row) {
  auto const context = context_of(head.contexts, draw);
  auto const n = head.contexts.n, position = context.begin + n - 1 - row * head.contexts.tail / rows;
  return {context.text, position, head.mask == Mask::causal ? position - n + 1 : context.begin};
}

std::vector<std::vector<double>> captured_logits(TensorFile const& file, CapturedHead const& head, std::int64_t rows, std::int64_t begin,
                                                 std::int64_t end) {
  std::vector<std::vector<double>> logits;
  auto const n = head.contexts.n;
  auto const& form = head.layer.form;
  double const scale = head.scale, cap = form.softcap, slope = form.alibi.empty() ? 0.0 : form.alibi[head.head];
  std::vector<float> keys;
  for (std::int64_t at = begin; at < end;) {
    // The rows of a draw see much the same keys, which are read once.
    auto const draw = at / rows, behind = std::min(end, (draw + 1) * rows);
    auto lowest = file.shape().n, highest = std::int64_t{0};
    for (auto i = at; i < behind; ++i) {
      auto const first = captured_row(head, rows, draw, i % rows).first_key;
      lowest = std::min(lowest, first);
      highest = std::max(highest, first + n);
    }
    auto const& layer = file.layer(captured_row(head, rows, draw, 0).text, head.layer.layer);
    std::size_t const d = layer.width();
    keys.resize((highest - lowest) * d);
    layer.read_keys(head.head, lowest, highest - lowest, keys.data());
    for (; at < behind; ++at) {
      auto const row = captured_row(head, rows, draw, at % rows);
      std::vector<float> query(d);
      layer.read_queries(head.head, row.position, 1, query.data());
      auto& out = logits.emplace_back(n);
      float const* first = &keys[(row.first_key - lowest) * d];
      using Policy = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace, Kokkos::IndexType<std::int64_t>>;
      Kokkos::parallel_for("Asymptop::precision::logits", Policy(0, n), [&](std::int64_t j) {
        double sum = 0.0;
        for (std::size_t c = 0; c < d; ++c) sum += double{query[c]} * double{first[j * d + c]};
        double const logit = cap > 0.0 ? cap * std::tanh(scale * sum / cap) : scale * sum;
        out[j] = logit + slope * exact_double(row.first_key + j - row.position);
      });
      Kokkos::DefaultHostExecutionSpace().fence();
    }
  }
  return logits;
}

}  // namespace asymptop
