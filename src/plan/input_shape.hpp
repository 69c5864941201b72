// What a tensor file brings to a plan: its layers, and how the model attends in each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.hpp"

namespace asymptop {

/// How a layer turns queries and keys into weights, as far as its file says; what it leaves out is softmax attention with the options' mask
/// and scale.
struct AttentionForm {
  std::optional<Mask> mask;
  double scale = 0.0;           ///< of the logits; 0: not given
  double softcap = 0.0;         ///< logits are softcap tanh(scale q.k / softcap); 0: they are scale q.k
  std::int64_t window = 0;      ///< a query sees so many keys, the last one its own; 0: all that the mask leaves
  std::vector<double> sinks{};  ///< of each head: a learned logit without a key or value, in the denominator; empty: none
  std::vector<double> alibi{};  ///< of each head: a slope; logits get slope (key - query), of their places; empty: none
  std::string kind;             ///< `global`, `sliding` or empty
  bool operator==(AttentionForm const&) const = default;
};

/// One layer; n = 0 for synthetic input. Queries belong to the last m of the n places.
struct LayerShape {
  std::int64_t layer = -1;  ///< its number in the model; -1: the file has no layers
  std::int64_t n = 0, d = 0, heads = 0, key_heads = 0, m = 0;
  std::int64_t d_v = 0;  ///< of the values
  AttentionForm form{};
  /// Columns that rows are read with: the fewer of keys' and values' are filled up with zeros, which change no product and no norm.
  std::int64_t width() const { return std::max(d, d_v); }
  bool operator==(LayerShape const&) const = default;
};

/// A tensor file: the first of its layers by itself, and all of them.
struct InputShape : LayerShape {
  std::string name;
  bool reversed = false;  ///< its axes were in MATLAB's order
  std::vector<LayerShape> layers;
  std::vector<std::string> texts;  ///< names of the texts that every layer has tensors of; empty: the file has one, without a name
  std::string model;               ///< empty: the file does not say
  bool has_layers() const { return layer >= 0; }
};

}  // namespace asymptop
