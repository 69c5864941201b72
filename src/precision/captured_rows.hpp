// Rows of logits of a head of a tensor file, as they stand before their softmax.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/communicator.hpp"
#include "plan/contexts.hpp"
#include "plan/input_shape.hpp"
#include "shard/tensor_file.hpp"

namespace asymptop {

/// A head, and where its rows lie: each is the query of a key and sees exactly n keys, up to that one (mask causal) or all of a context
/// that it stands in (none). Draws are texts and places in turn, as a study's contexts are; no two share a row.
struct CapturedHead {
  LayerShape layer;
  std::int64_t head = 0;
  double scale = 0.0;
  Mask mask = Mask::none;
  ContextPlan contexts;
};

/// Places of rows of n keys in the texts of a layer. rows: of a draw. The plan's tail is 0 where there is no place.
ContextPlan plan_captured_rows(LayerShape const& layer, std::int64_t texts, Mask mask, std::int64_t n);

/// A row: its query's place in a text, and the first of the n keys that it sees.
struct CapturedRow {
  std::int64_t text, position, first_key;
};
CapturedRow captured_row(CapturedHead const& head, std::int64_t rows, std::int64_t draw, std::int64_t row);

/// Logits in fp64, of rows [begin, end) in the order of (draw, row): slope (key - query) of ALiBi, if any, and scale q.k, or softcap
/// tanh(scale q.k / softcap) where the layer has one. Each row from fp32 queries and keys of the file, whatever rank asks.
std::vector<std::vector<double>> captured_logits(TensorFile const& file, CapturedHead const& head, std::int64_t rows, std::int64_t begin,
                                                 std::int64_t end);

}  // namespace asymptop
