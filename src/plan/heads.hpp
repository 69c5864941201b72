// The layers and heads of a tensor file that a study is of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/run_config.hpp"
#include "plan/input_shape.hpp"

namespace asymptop {

/// A head of a layer; of synthetic input -1.
struct HeadPlace {
  LayerShape const* layer;
  std::int64_t head;
};

/// `, layer 5, head 3`; empty for synthetic input.
std::string text_of(HeadPlace const& place);

/// `heads 0 to 3`, of four; `head 0 alone`.
std::string numbers_of_heads(std::int64_t count);

/// The layers that --layers asks for; of synthetic input one without keys. Throws UsageError for a number that the file does not have.
std::vector<LayerShape> layers_of(RunConfig const& config, InputShape const& input);

/// Throws UsageError: the layer has `what`, and the command would not take its attention as the model computes it.
[[noreturn]] void refuse_form(std::string const& what, LayerShape const& layer, InputShape const& input, std::string const& command);

/// The heads that --heads asks for, of each layer. They point to `layers`. Throws UsageError for a number that a layer does not have.
std::vector<HeadPlace> heads_of(RunConfig const& config, InputShape const& input, std::vector<LayerShape> const& layers);

}  // namespace asymptop
