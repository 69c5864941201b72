#include "comm/merge/merge_softmax.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "comm/collectives.hpp"

namespace asymptop {

Task<std::vector<double>> merge_softmax(Communicator const& comm, std::vector<float> parts, std::vector<int> owners, std::size_t d) {
  std::size_t const width = d + 2;
  std::vector<std::vector<float>> messages(comm.size());
  for (std::size_t row = 0; row < owners.size(); ++row) {
    auto const from = parts.begin() + row * width;
    messages[owners[row]].insert(messages[owners[row]].end(), from, from + width);
  }
  auto sending = all_to_all(comm, std::move(messages));
  auto const received = co_await sending;
  std::size_t const rows = received.front().size() / width;
  std::vector<double> outputs(rows * d, 0.0);
  for (std::size_t row = 0; row < rows; ++row) {
    float top = received.front()[row * width];
    for (auto const& part : received) top = std::max(top, part[row * width]);
    double sum = 0.0;
    double* const to = &outputs[row * d];
    for (auto const& part : received) {
      float const* const of = &part[row * width];
      if (!(of[1] > 0.0f)) continue;
      double const weight = std::exp(of[0] - double{top});
      sum += weight * of[1];
      for (std::size_t c = 0; c < d; ++c) to[c] += weight * of[2 + c];
    }
    for (std::size_t c = 0; c < d; ++c) to[c] /= sum;
  }
  co_return std::move(outputs);
}

}  // namespace asymptop
