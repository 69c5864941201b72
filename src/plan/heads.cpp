#include "plan/heads.hpp"

#include <algorithm>

#include "config/errors.hpp"

namespace asymptop {

void refuse_form(std::string const& what, LayerShape const& layer, InputShape const& input, std::string const& command) {
  throw UsageError("--input", input.name,
                   "has " + what + " in layer " + std::to_string(layer.layer) + ", which " + command +
                       " does not apply; --layers names the layers to take");
}

std::string text_of(HeadPlace const& place) {
  if (place.head < 0) return "";
  return (place.layer->layer < 0 ? "" : ", layer " + std::to_string(place.layer->layer)) + ", head " + std::to_string(place.head);
}

std::string numbers_of_heads(std::int64_t count) { return count == 1 ? "head 0 alone" : "heads 0 to " + std::to_string(count - 1); }

std::vector<LayerShape> layers_of(RunConfig const& config, InputShape const& input) {
  if (input.n == 0) return {LayerShape{}};
  std::vector<LayerShape> layers;
  if (config.layers.empty()) layers = input.layers;
  std::string there;
  for (auto const& layer : input.layers) there += (there.empty() ? "" : ", ") + std::to_string(layer.layer);
  for (auto const number : config.layers) {
    auto const found = std::find_if(input.layers.begin(), input.layers.end(), [&](auto const& layer) { return layer.layer == number; });
    if (found == input.layers.end())
      throw UsageError("--layers", std::to_string(number),
                       "is no layer of " + input.name + ", which has " + (input.has_layers() ? there : std::string("none by number")));
    layers.push_back(*found);
  }
  return layers;
}

std::vector<HeadPlace> heads_of(RunConfig const& config, InputShape const& input, std::vector<LayerShape> const& layers) {
  if (input.n == 0) return {{layers.data(), -1}};
  std::vector<HeadPlace> places;
  for (auto const& layer : layers) {
    auto heads = config.heads;
    for (std::int64_t head = 0; config.heads.empty() && head < layer.heads; ++head) heads.push_back(head);
    for (auto const head : heads) {
      if (head >= layer.heads)
        throw UsageError("--heads", std::to_string(head),
                         "is not a head of " + (layer.layer < 0 ? "" : "layer " + std::to_string(layer.layer) + " of ") + input.name +
                             ", which has " + numbers_of_heads(layer.heads));
      places.push_back({&layer, head});
    }
  }
  return places;
}

}  // namespace asymptop
