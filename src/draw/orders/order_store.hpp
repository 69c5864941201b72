// Entries of the windows of a walk, kept by the rank that has their keys until their orders are settled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "draw/orders/order_questions.hpp"
#include "kernels/core/key_ranges.hpp"

namespace asymptop {

struct StoredEntry {
  OrderKey key;
  std::uint32_t entry;  ///< of the shard
  std::int64_t mass;
};

/// The entries that one question found.
struct StoredWindow {
  bool places = false;           ///< keys are places, not priorities
  std::int64_t first_entry = 0;  ///< of the shard
  std::int64_t page = 1;
  KeyRun seen{0, 0};  ///< by the row
  std::vector<StoredEntry> entries{};
};

/// One window may find so many entries on a rank.
constexpr std::size_t most_stored = std::size_t{1} << 20;

/// Adds what windows say to the answers of the questions that are about them.
void answer_from_windows(std::vector<StoredWindow> const& windows, std::vector<OrderQuestion> const& questions, OrderAnswers& answers);

}  // namespace asymptop
