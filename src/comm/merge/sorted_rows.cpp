#include "comm/merge/sorted_rows.hpp"

#include <algorithm>

#include "config/errors.hpp"

namespace asymptop {
namespace {

constexpr std::size_t sources_per_word = 4;

}  // namespace

SortedRow merge_best(SortedRow const& lower, SortedRow const& higher, std::size_t keep) {
  SortedRow best;
  auto const size = std::min(keep, lower.size() + higher.size());
  best.entries.resize(size);
  best.sources.resize(size);
  std::size_t at = 0, a = 0, b = 0;
  // Which list is next is a coin toss: selected without a branch.
  while (at < size && a < lower.size() && b < higher.size()) {
    bool const from_higher = higher.entries[b] >> 32 > lower.entries[a] >> 32;
    best.entries[at] = from_higher ? higher.entries[b] : lower.entries[a];
    best.sources[at] = from_higher ? higher.sources[b] : lower.sources[a];
    b += from_higher ? 1 : 0;
    a += from_higher ? 0 : 1;
    ++at;
  }
  auto const& rest = a < lower.size() ? lower : higher;
  std::ptrdiff_t const first = a < lower.size() ? a : b;
  std::copy_n(rest.entries.begin() + first, size - at, best.entries.begin() + at);
  std::copy_n(rest.sources.begin() + first, size - at, best.sources.begin() + at);
  return best;
}

SortedRow merge_best(std::vector<SortedRow> parts, std::size_t keep) {
  if (parts.empty()) return {};
  for (std::size_t step = 1; step < parts.size(); step *= 2) {
    for (std::size_t i = 0; i + step < parts.size(); i += 2 * step) {
      parts[i] = merge_best(parts[i], parts[i + step], keep);
      parts[i + step] = {};
    }
  }
  return std::move(parts.front());
}

CandidateList global_candidates(SortedRow const& row, std::vector<GlobalIndex> const& shard_begin) {
  CandidateList list(row.size());
  for (std::size_t i = 0; i < row.size(); ++i) list[i] = {score_of(row.entries[i]), shard_begin[row.sources[i]] + index_of(row.entries[i])};
  return list;
}

std::vector<std::uint64_t> row_message(std::span<SortedRow const> rows, Sources sources) {
  std::size_t candidates = 0;
  for (auto const& row : rows) candidates += row.size();
  std::vector<std::uint64_t> message;
  message.reserve(rows.size() + candidates + (sources == Sources::each ? candidates / sources_per_word + 1 : 0));
  for (auto const& row : rows) message.push_back(row.size());
  for (auto const& row : rows) message.insert(message.end(), row.entries.begin(), row.entries.end());
  if (sources == Sources::sender) return message;
  std::size_t at = 0;
  for (auto const& row : rows) {
    for (auto const source : row.sources) {
      if (at % sources_per_word == 0) message.push_back(0);
      message.back() |= std::uint64_t{source} << (16 * (at++ % sources_per_word));
    }
  }
  return message;
}

std::vector<SortedRow> rows_of_message(std::vector<std::uint64_t> const& message, std::size_t count, Sources sources, int sender) {
  std::vector<SortedRow> rows(count);
  std::size_t candidates = 0;
  for (std::size_t i = 0; i < count; ++i) candidates += message.at(i);
  auto const words = sources == Sources::each ? (candidates + sources_per_word - 1) / sources_per_word : 0;
  if (message.size() != count + candidates + words) throw RunError("a merge's message has another length than it says");
  std::size_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    auto const length = message[i];
    auto const first = message.begin() + (count + at);
    rows[i].entries.assign(first, first + length);
    rows[i].set_source(sender);
    for (std::size_t j = 0; j < length && sources == Sources::each; ++j) {
      auto const place = at + j;
      rows[i].sources[j] = message[count + candidates + place / sources_per_word] >> (16 * (place % sources_per_word)) & 0xffff;
    }
    at += length;
  }
  return rows;
}

}  // namespace asymptop
