#include "comm/merge/merge_attention.hpp"

#include "kernels/core/counts.hpp"
#include "kernels/core/math.hpp"

namespace asymptop {

std::vector<SoftmaxRun> merge_attention(Communicator const& comm, std::function<SoftmaxRun const&(int)> const& run_of,
                                        std::vector<int> const& owners, int columns) {
  std::size_t const ranks = comm.size(), width = columns;
  // Of each row: how many nodes, then first leaf and level of each; beside them max, weight and values.
  std::vector<std::uint64_t> places;
  std::vector<float> sums;
  std::vector<std::size_t> place_counts(ranks, 0), sum_counts(ranks, 0), received;
  std::size_t mine = 0;
  for (int row = 0; row < std::ssize(owners); ++row) {
    auto const& run = run_of(row);
    std::size_t const owner = owners[row];
    mine += owners[row] == comm.rank() ? 1u : 0u;
    places.push_back(run.nodes().size());
    for (std::size_t i = 0; i < run.nodes().size(); ++i) {
      auto const& node = run.nodes()[i];
      places.push_back(node.first);
      places.push_back(node.level);
      sums.push_back(node.max);
      sums.push_back(node.weight);
      float const* values = run.values(i, columns);
      sums.insert(sums.end(), values, values + columns);
    }
    place_counts[owner] += 1 + 2 * run.nodes().size();
    sum_counts[owner] += (2 + width) * run.nodes().size();
  }
  auto const all_places = comm.all_to_all(places, place_counts, received);
  auto const all_sums = comm.all_to_all(sums, sum_counts, received);
  std::vector<SoftmaxRun> merged(mine);
  std::size_t place = 0, sum = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    for (auto& run : merged) {
      for (auto nodes = all_places[place++]; nodes > 0; --nodes) {
        SoftmaxNode node;
        node.first = all_places[place];
        node.level = checked_int(all_places[place + 1]);
        node.max = all_sums[sum];
        node.weight = all_sums[sum + 1];
        run.push(node, &all_sums[sum + 2], columns);
        place += 2;
        sum += 2 + width;
      }
    }
  }
  for (auto& run : merged) run.finish(columns);
  return merged;
}

}  // namespace asymptop
