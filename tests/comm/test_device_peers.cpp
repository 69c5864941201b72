// Device memory among ranks, by NCCL or by way of the hosts: every word where it belongs, sums exact. Skipped where there is no GPU.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <numeric>
#include <vector>

#include "comm/device_peers.hpp"
#include "kernels/device/memory.hpp"

namespace asymptop {
namespace {

/// Words that say where they are from, where they go and their place.
std::uint64_t word(int from, int to, std::size_t at) { return std::uint64_t(from) << 48 | std::uint64_t(to) << 32 | at; }

TEST(DevicePeers, EveryWordArrivesAndSumsAreExact) {
  if (!device::gpu().usable) GTEST_SKIP() << "no GPU of compute capability 9.0";
  Communicator const comm(MPI_COMM_WORLD);
  auto& peers = DevicePeers::of(comm);
  EXPECT_EQ(&peers, &DevicePeers::of(comm));
  if (comm.is_root()) std::printf("%d rank(s) by %s\n", comm.size(), peers.transport());
  auto const ranks = static_cast<std::size_t>(comm.size());
  int const self = comm.rank();
  // Lengths that differ, none among them.
  auto const length = [&](int from, int to, int turn) {
    return turn == 0 ? std::size_t{1000} : static_cast<std::size_t>((from * 3 + to * 5 + turn) % 4) * 777;
  };
  for (int turn = 0; turn < 3; ++turn) {
    std::vector<device::Memory> memory;
    std::vector<DevicePeers::Out> out;
    std::vector<DevicePeers::In> in;
    for (int r = 0; r < comm.size(); ++r) {
      std::vector<std::uint64_t> words(length(self, r, turn));
      for (std::size_t i = 0; i < words.size(); ++i) words[i] = word(self, r, i);
      memory.push_back(device::copied(words));
      out.push_back({memory.back().as<std::uint64_t>(), words.size()});
      memory.emplace_back(length(r, self, turn) * sizeof(std::uint64_t));
      in.push_back({memory.back().as<std::uint64_t>(), length(r, self, turn)});
    }
    peers.exchange(out, in);
    for (int r = 0; r < comm.size(); ++r) {
      std::vector<std::uint64_t> words(length(r, self, turn));
      device::download(nullptr, words.data(), in[static_cast<std::size_t>(r)].memory, words.size() * sizeof(std::uint64_t));
      for (std::size_t i = 0; i < words.size(); ++i) ASSERT_EQ(words[i], word(r, self, i)) << "turn " << turn;
    }
    std::vector<std::size_t> counts(ranks, 500);
    for (std::size_t r = 0; turn > 0 && r < ranks; ++r) counts[r] = (r * 311 + static_cast<std::size_t>(turn)) % 3 * 400;
    auto const all = std::accumulate(counts.begin(), counts.end(), std::size_t{0}), mine = counts[static_cast<std::size_t>(self)];
    std::vector<std::int64_t> values(all);
    auto const value = [](int rank, std::size_t i) {
      return (std::int64_t{1} << 55) + std::int64_t{rank} * 1000003 * static_cast<std::int64_t>(i + 1);
    };
    for (std::size_t i = 0; i < all; ++i) values[i] = value(self, i);
    auto const on_device = device::copied(values);
    device::Memory const own((mine + 1) * sizeof(std::int64_t));
    peers.sum_to_owners(on_device.as<std::int64_t>(), counts, own.as<std::int64_t>());
    std::vector<std::int64_t> sums(mine);
    device::download(nullptr, sums.data(), own.as<void>(), mine * sizeof(std::int64_t));
    std::size_t before = 0;
    for (int r = 0; r < self; ++r) before += counts[static_cast<std::size_t>(r)];
    for (std::size_t i = 0; i < mine; ++i) {
      std::int64_t expected = 0;
      for (int r = 0; r < comm.size(); ++r) expected += value(r, before + i);
      ASSERT_EQ(sums[i], expected) << "turn " << turn;
    }
  }
}

}  // namespace
}  // namespace asymptop
