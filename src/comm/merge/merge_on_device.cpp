#include "comm/merge/merge_on_device.hpp"

#ifdef ASYMPTOP_DEVICE

namespace asymptop {
namespace {

/// Subtrees of a rank, unit and level of each.
using Places = std::vector<std::int64_t>;

/// Places of all ranks' subtrees.
std::vector<Places> places_of_all(Communicator const& comm, DeviceNodes const& nodes) {
  Places own{std::ssize(nodes.all())};
  for (auto const& node : nodes.all()) own.insert(own.end(), {node.unit, node.level});
  auto const all = comm.all_gather(own);
  std::vector<Places> of_ranks;
  for (std::size_t at = 0; at < all.size();) {
    std::int64_t const count = all[at++];
    of_ranks.emplace_back(all.begin() + at, all.begin() + at + 2 * count);
    at += 2 * count;
  }
  return of_ranks;
}

}  // namespace

DeviceNodes merge_nodes(Communicator const& comm, DevicePeers& peers, DeviceNodes const& nodes, std::vector<int> const& rows_of) {
  auto const places = places_of_all(comm, nodes);
  std::size_t const own_rows = rows_of[comm.rank()];
  DeviceNodes merged(own_rows, nodes.d());
  // Nodes of some rows in whole words.
  auto const words_of = [&](std::size_t rows) { return (nodes.bytes_of(rows, 1) + 7) / 8; };
  std::vector<device::Memory> leaving, arriving;
  std::vector<DevicePeers::Out> out;
  std::vector<DevicePeers::In> in;
  std::size_t first = 0;
  for (std::size_t r = 0; r < rows_of.size(); ++r) {
    std::size_t const rows = rows_of[r], words = words_of(rows), received = words_of(own_rows) * (places[r].size() / 2);
    leaving.emplace_back(words * nodes.all().size() * sizeof(std::uint64_t));
    auto* const to = leaving.back().as<std::uint64_t>();
    for (std::size_t i = 0; rows > 0 && i < nodes.all().size(); ++i)
      device::take_node(nullptr, nodes.part(nodes.all()[i], first, rows), 0, 1,
                        nodes.at(reinterpret_cast<float*>(to + i * words), rows, 1));
    first += rows;
    out.push_back({to, words * nodes.all().size()});
    arriving.emplace_back(received * sizeof(std::uint64_t));
    in.push_back({arriving.back().as<std::uint64_t>(), received});
  }
  peers.exchange(out, in);
  if (own_rows == 0) return merged;
  for (std::size_t r = 0; r < places.size(); ++r) {
    for (std::size_t i = 0; 2 * i < places[r].size(); ++i) {
      DeviceNodes::Node node{places[r][2 * i], checked_int(places[r][2 * i + 1]), merged.room()};
      auto const* const from = in[r].memory + i * words_of(own_rows);
      device::take_node(nullptr, merged.at(reinterpret_cast<float*>(const_cast<std::uint64_t*>(from)), own_rows, 1), 0, 1,
                        merged.part(node, 0, own_rows));
      merged.insert(std::move(node));
    }
  }
  return merged;
}

}  // namespace asymptop

#endif
