// A trained indexer's queries and keys, beside Q, K and V of a tensor file: what `study --selectors file:NAME` chooses by.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/core/types.hpp"
#include "shard/float_dataset.hpp"

namespace asymptop {

/// The sequence that an index is of.
struct IndexedSequence {
  std::int64_t n, query_heads, key_heads;
};

/// Datasets of one index, float32 or float64:
///   NAME_k  (n, d): one index for all heads; or (heads, n, d), heads being those of Q or of K
///   NAME_q  (index heads, n, d), or (n, d) with one index head; in the second case (heads, index heads, n, d) or (heads, n, d)
///   NAME_w  NAME_q's shape but for the last axis: the index heads' weights; ones if absent
class IndexTensors {
 public:
  /// Throws UsageError naming the dataset that is missing, misshapen or of another type.
  IndexTensors(hid_t file, std::string const& path, std::string const& name, IndexedSequence const& sequence);

  std::int64_t heads() const { return index_heads_; }
  std::int64_t d() const { return d_; }

  /// Rows [begin, begin + rows) of the index that serves a query head.
  void read_keys(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const;     ///< (rows, d)
  void read_queries(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const;  ///< (heads, rows, d)
  void read_weights(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const;  ///< (heads, rows)

  /// Reads these rows of all three. Throws UsageError naming the first NaN or infinity.
  void scan(std::int64_t head, GlobalIndex begin, GlobalIndex end) const;

 private:
  std::int64_t own_head(std::int64_t heads, std::int64_t head) const { return head / (sequence_.query_heads / heads); }
  void read_rows(FloatDataset const& dataset, bool of_queries, std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const;

  IndexedSequence sequence_;
  FloatDataset query_, key_;
  std::optional<FloatDataset> weight_;
  bool of_heads_ = false;    ///< not one for all
  bool index_axis_ = false;  ///< queries have an axis of index heads
  std::int64_t index_heads_ = 1, d_ = 0;
};

}  // namespace asymptop
