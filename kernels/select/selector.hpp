// A selector: which keys of a row an attention method reads. It is an order on the row's keys, and at budget k the order's first keys are
// kept. What the methods are, and who made them: README.md beside this file.
//
// To add one: a header beside this one with a class that says one of
//
//   projection()  priorities are dot products of a projected query with projected keys or pages of keys; the largest come first
//   lookup()      priorities are looked up for keys: by their places in what other queries attended to, or by codes of them
//   order()       the order follows from places of keys, or from the row's best keys
//   index()       priorities are the scores of a trained indexer, which comes with the tensors
//   shards()      entries are the best keys, the second best ones, ... of contiguous shards of the context
//
// and its line in the table of selectors.hpp. What tests and reports want beside: README.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../core/candidate.hpp"
#include "../core/key_ranges.hpp"
#include "../input/philox_normal.hpp"

namespace asymptop {

/// What an order may know of a row.
struct RowOfKeys {
  KeyRun seen;                      ///< at least one key
  std::uint64_t name;               ///< another for every row of a study: for what is drawn at random
  std::span<Candidate const> best;  ///< its best keys by score, in order: all that it sees, or as many as budgets ask for
};

/// Keys and queries that a method looks at before it meets the queries that are measured.
struct Calibration {
  int d = 0;
  std::vector<float> keys;       ///< (count, d): evenly spaced over the sequence
  std::vector<float> queries{};  ///< (count, d), scaled as logits want them: none that is measured; where some method wants them
};

/// What an ALiBi slope adds to a priority that stands for logits: slope (key - query) of the entry's key, of a page's mean place, or the
/// largest of its keys'. none: priorities are no logits, and stay; unknown: the method does not say.
enum class SlopeOf { mean_place, largest, none, unknown };

/// Priorities that are dot products. Entries of the order are keys, or pages of `page` keys that are read together.
class Projection {
 public:
  virtual ~Projection() = default;
  virtual int page() const { return 1; }
  /// Numbers of a projected query, and of an entry.
  virtual int width(int d) const { return d; }
  virtual SlopeOf slope_of() const { return SlopeOf::mean_place; }
  /// Whether entries are the keys as they are; entry() is not called then.
  virtual bool keys_as_they_are() const { return false; }
  /// Whether products are those of the true scores. Like these they leave out an offset that all keys of a file share; all other methods
  /// look at keys as the file has them.
  virtual bool true_products() const { return false; }
  /// Not 0: vectors are rounded to whole numbers up to this, each with a scale of its own, which can be multiplied exactly
  /// (byte_products.hpp).
  virtual int levels() const { return 0; }
  virtual bool wants_calibration() const { return false; }
  /// Of queries too.
  virtual bool wants_queries() const { return false; }
  /// Once for each draw of keys, if wanted.
  virtual void calibrate(Calibration const& /*calibration*/) {}
  /// q: (d), scaled as logits want it; out: (width).
  virtual void query(float const* q, int d, float* out) const = 0;
  /// keys: (count, d), the keys of one entry; out: (width).
  virtual void entry(float const* /*keys*/, int /*count*/, int /*d*/, float* /*out*/) const {}
};

/// Queries whose attention a method looks at beforehand.
struct Observers {
  enum class Where { last, spaced };  ///< in the context; spaced: evenly
  Where where;
  std::int64_t count;        ///< at most 2^10
  int run = 1;               ///< queries and keys are taken in runs of so many, of which the antidiagonal products count; a power of two
  bool by_distance = false;  ///< whether sums over diagonals are wanted
  bool so_far = false;       ///< whether a row goes by those alone whose place it sees
};

/// Sums over observing queries i of their weights p_ij, the softmax of each over the keys that it sees.
struct Observation {
  std::vector<float> of_keys;       ///< per key j of the context, or run of keys
  std::vector<float> of_distances;  ///< per distance t_i - j from the query's own place t_i, 0 and up
  /// Observers::so_far: of_keys is (sums, keys) for the `keys` keys of a rank's shard from `first` on, and the i-th sums are those of rows
  /// that see keys up to before from[i] or a later place, as far as before from[i + 1].
  std::vector<std::int64_t> from{};
  std::int64_t first = 0, keys = 0;
};

/// Roughly what a selector costs on one core (measured, AVX-512), for plans: seconds for a key, and for each row that sees it.
struct SelectorSeconds {
  double per_key, per_row;
};

/// Priorities that are looked up, by the place of an entry or by codes of keys; the largest come first.
class Lookup {
 public:
  virtual ~Lookup() = default;
  virtual int page() const { return 1; }
  virtual SelectorSeconds seconds(int d) const = 0;
  /// Held on every rank, beside keys and values, for a context of n keys of which the rank has `shard`. ends: where what the rows of a draw
  /// see ends, at so many places at most.
  virtual double index_bytes(double /*n*/, double /*shard*/, double /*ends*/) const { return 0.0; }
  /// Null for methods that look at no other queries.
  virtual Observers const* observers() const { return nullptr; }
  /// Once for each draw of keys, where there are observers.
  virtual void observe(Observation /*observation*/) {}
  /// Once for each draw of keys. stream: for what is drawn at random.
  virtual void draw(Stream /*stream*/, int /*d*/) {}
  /// 16-bit words of a key's code; 0: places say all.
  virtual int code_words() const { return 0; }
  /// key: (d); out: (code_words()).
  virtual void code(float const* /*key*/, int /*d*/, std::uint16_t* /*out*/) const {}
  /// What the priorities of a query are looked up in. q: (d), scaled as logits want it.
  virtual std::vector<float> table(float const* /*q*/, int /*d*/) const { return {}; }
  /// Of entries `first`, `first` + 1, ... of the context, some of which the row may not see. codes: (count, code_words()).
  virtual void priorities(RowOfKeys const& row, float const* table, std::uint16_t const* codes, std::int64_t first, int count,
                          float* out) const = 0;
};

/// Keys that are taken before all others, whatever their priority; they count towards the budget.
struct ForcedKeys {
  std::int64_t first = 0;   ///< of the context: attention sinks, where the row sees them
  std::int64_t recent = 0;  ///< before and at the query
  /// Where the first ones end in a row, and where the recent ones begin; those are not among the first.
  std::int64_t first_end(KeyRun const& seen) const { return std::clamp(first, seen.begin, seen.end); }
  std::int64_t recent_begin(KeyRun const& seen) const { return std::max(first_end(seen), seen.end - std::min(seen.size(), recent)); }
  std::int64_t count(KeyRun const& seen) const { return first_end(seen) - seen.begin + seen.end - recent_begin(seen); }
  /// Of a key that the row sees.
  bool holds(std::int64_t key, KeyRun const& seen) const { return key < first || key >= recent_begin(seen); }
};

/// What is kept at a budget: the first keys of an order; those with weights, one over the chance of a key to be kept; or another set at
/// every budget and under every law of sigma, of weighted keys or of keys without weights.
enum class KeptSets { ordered, weighted_order, weighted, unordered };

inline bool have_order(KeptSets sets) { return sets == KeptSets::ordered || sets == KeptSets::weighted_order; }
inline bool have_weights(KeptSets sets) { return sets == KeptSets::weighted_order || sets == KeptSets::weighted; }

/// A trained indexer: the priority of key j is I_j = sum_h w_h ReLU(q_h . k_j) over the indexer's heads h, its keys k_j, and the row's
/// index queries q_h and weights w_h.
struct TrainedIndex {
  std::string name;       ///< of its tensors, which lie beside queries, keys and values
  bool rectified = true;  ///< otherwise the products themselves are added
};

class Selector {
 public:
  virtual ~Selector() = default;
  virtual SelectorSeconds seconds(int d) const { return {2e-9 * d, 4e-9}; }
  /// Keys of an entry of the order: budgets are rounded down to whole entries, but for one that is always read.
  virtual int page() const { return 1; }
  /// Entries that a budget of k keys pays for; one at least.
  virtual std::int64_t entries_of_budget(std::int64_t k) const { return std::max<std::int64_t>(1, k / page()); }
  /// Keys of an entry, at most.
  virtual std::int64_t keys_of_entry() const { return page(); }
  /// Shards of the context (shard_of_context()) whose t-th best keys together are the t-th entry; 0 for any other order.
  virtual int shards() const { return 0; }
  virtual ForcedKeys forced() const { return {}; }
  /// Whether kept sets are the first entries of the order, so that k_epsilon is a place in it.
  virtual bool keeps_first() const { return true; }
  /// Whether kept sets are made of an order at all; else a pass of their own makes them, or chance.
  virtual bool has_order() const { return true; }
  /// Whether the queries that share a key head choose together, by the sum of their priorities.
  virtual bool shared() const { return false; }
  /// Null where order(), lookup() or index() says all.
  virtual Projection* projection() { return nullptr; }
  /// The same for another selector, which goes by its products; this one is of no use then.
  virtual std::unique_ptr<Projection> take_projection() { return nullptr; }
  /// Null for all selectors but those that go by one.
  virtual Lookup* lookup() { return nullptr; }
  /// Null for all selectors but those that go by one.
  virtual TrainedIndex const* index() const { return nullptr; }
  /// Whether entries stand by numbers that are worked out from queries and keys; the largest come first.
  bool has_priorities() { return projection() != nullptr || lookup() != nullptr || index() != nullptr; }
  /// Whether its order is defined where logits have ALiBi slopes. Runs of keys have no place of their own.
  bool takes_slopes() {
    if (projection() != nullptr && projection()->slope_of() == SlopeOf::unknown) return false;
    return lookup() == nullptr || lookup()->observers() == nullptr || lookup()->observers()->run == 1;
  }
  /// The first `wanted` entries of the order, fewer where the row has no more: first keys of pages, or keys.
  virtual std::vector<GlobalIndex> order(RowOfKeys const& /*row*/, std::int64_t /*wanted*/) const { return {}; }
  /// Without priorities, where entries `first`, `first` + 1, ... stand in the order of all entries, 0 for its first, unless largest scores
  /// decide. The same order as order()'s: forced() entries are ahead of them all, and nothing is asked of their places.
  virtual void places(RowOfKeys const& /*row*/, std::int64_t /*first*/, int /*count*/, std::uint32_t* /*out*/) const {}
  /// Whether entries are ordered by the largest true score of their keys.
  virtual bool by_largest_score() const { return false; }
  virtual bool wants_calibration() { return projection() != nullptr && projection()->wants_calibration(); }
  /// Of queries too.
  virtual bool wants_queries() { return projection() != nullptr && projection()->wants_queries(); }
  /// Once for each draw of keys, if wanted. stream: for what is drawn at random.
  virtual void calibrate(Calibration const& calibration, Stream /*stream*/) { projection()->calibrate(calibration); }
};

/// Entries of a row that hold keys which are forced: from `begin` to before `first_end`, in that order, then backwards from `end` to
/// `recent_begin`.
struct ForcedEntries {
  std::int64_t begin, first_end, recent_begin, end;

  ForcedEntries(ForcedKeys const& forced, KeyRun const& seen, std::int64_t page)
      : begin(seen.first_page(page)), first_end(begin), recent_begin(seen.end_page(page)), end(recent_begin) {
    if (auto const keys = forced.first_end(seen); keys > seen.begin) first_end = (keys + page - 1) / page;
    if (forced.recent > 0) recent_begin = std::max(first_end, (seen.end - std::min(seen.size(), forced.recent)) / page);
  }
  bool holds(std::int64_t entry) const { return entry < first_end || entry >= recent_begin; }
  std::int64_t count() const { return first_end - begin + end - recent_begin; }
  /// Of one that it holds.
  std::int64_t place(std::int64_t entry) const { return entry < first_end ? entry - begin : first_end - begin + end - 1 - entry; }
};

/// First key of the p-th of `shards` contiguous shards of n keys; of the last one's successor, n. More shards than keys leave empty ones.
inline std::int64_t shard_of_context(std::int64_t n, int shards, int p) { return n / shards * p + n % shards * p / shards; }

/// The forced entries of a row, in their order, then the others as `by_priority` has them; at most `wanted`.
inline std::vector<std::int64_t> with_forced(ForcedEntries const& forced, std::vector<std::int64_t> const& by_priority,
                                             std::int64_t wanted) {
  std::vector<std::int64_t> order;
  for (auto entry = forced.begin; entry < forced.first_end; ++entry) order.push_back(entry);
  for (auto entry = forced.end; entry-- > forced.recent_begin;) order.push_back(entry);
  for (auto const entry : by_priority) {
    if (!forced.holds(entry)) order.push_back(entry);
  }
  order.resize(std::min<std::size_t>(order.size(), wanted));
  return order;
}

}  // namespace asymptop
