// Q, K and V of one layer over one text: datasets of a group of a tensor file, each (n, d) or (heads, n, d), float32 or float64, V with a d
// of its own; MATLAB's files have these axes in reverse and are turned.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "h5/h5.hpp"
#include "kernels/core/counts.hpp"
#include "kernels/core/types.hpp"
#include "plan/input_shape.hpp"
#include "shard/float_dataset.hpp"
#include "shard/index_tensors.hpp"

namespace asymptop {

/// Open for reading on every rank; each rank reads only the rows that it asks for.
class TensorLayer {
 public:
  /// Of the datasets `folder`Q, `folder`K and `folder`V. layer: its number; -1 where they are those of the whole file, which says nothing
  /// of its attention but the scale. Throws UsageError naming the dataset that is missing, misshapen or of another type.
  TensorLayer(hid_t file, std::string const& path, std::string const& folder, std::int64_t layer);

  std::string const& path() const { return path_; }
  std::string in_file(std::string const& dataset) const { return folder_ + dataset; }  ///< in the file
  LayerShape const& shape() const { return shape_; }
  std::int64_t heads() const { return shape_.heads; }
  std::int64_t n() const { return shape_.n; }
  std::int64_t width() const { return shape_.width(); }
  std::int64_t key_heads() const { return shape_.key_heads; }
  /// The first place that has a query: n less the rows of Q.
  GlobalIndex first_query() const { return shape_.n - shape_.m; }
  bool reversed() const { return query_.reversed; }  ///< Q was turned from MATLAB's order of axes

  /// Rows [begin, begin + rows) of one query head's Q, K or V as fp32 into out (rows, width()), zeros after their own
  /// columns (LayerShape::width), by their places in the text, those of Q from
  /// first_query() on. Query heads share key heads in equal groups (grouped-query attention).
  void read_queries(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
    read(query_, head, begin - first_query(), rows, out);
  }
  void read_keys(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
    read(key_, key_head(head), begin, rows, out);
  }
  void read_values(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
    read(value_, key_head(head), begin, rows, out);
  }

  /// A trained indexer's tensors of that name, beside Q; not from several threads at once. Throws UsageError (index_tensors.hpp).
  IndexTensors const& index(std::string const& name) const;

 private:
  struct Dataset : FloatDataset {
    std::int64_t heads = 1, n = 0, d = 0;
    bool has_heads = false;
  };
  Dataset open(std::string const& name) const;
  void check_shapes();
  void read_form();
  /// A dataset of a number for each query head; empty where there is none.
  std::vector<double> values_of_heads(std::string const& name) const;
  void read(Dataset const& dataset, std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const;
  std::int64_t key_head(std::int64_t head) const { return head / (shape_.heads / shape_.key_heads); }
  [[noreturn]] void fail(std::string const& why) const;

  hid_t file_;
  std::string path_, folder_;
  Dataset query_, key_, value_;
  LayerShape shape_;
  mutable std::map<std::string, std::unique_ptr<IndexTensors>> indexes_;  ///< opened where they are first asked for
};

/// How a file's values are taken: (v - offset) scale. Errors are differences of their means, in which what all of them share goes away, but
/// fp32 sums would spend their digits on it; and sums of extreme ones would leave fp32's range.
struct ValueForm {
  std::vector<float> offset;  ///< (width); empty: nothing is taken off
  double scale = 1.0;         ///< a power of two
  double largest = 0.0;       ///< bound of them, taken so
};

/// What a look at every value of a head finds out.
struct TensorScan {
  std::vector<float> centre;             ///< (d): mean of the first keys, a point near the keys' middle
  double key_radius = 0.0;               ///< largest ‖k - centre‖
  double query_norm = 0.0;               ///< largest ‖q‖
  double key_norm = 0.0;                 ///< largest ‖k‖
  double largest_value = 0.0;            ///< largest |v|
  std::vector<float> value_centre;       ///< (d): medians of the first values
  double value_spread = 0.0;             ///< largest |v - value_centre|
  std::int64_t rows = 0, near_rows = 0;  ///< looked at; with values over 4 times as far from 0 as from the centre

  /// What is taken from all keys before they are multiplied, once radius and centre are those of the whole head: the centre, where it is so
  /// far out that fp32 products would spend their digits on it; else nothing, and scores are those of the keys as they are. A row's logits
  /// all change by the same number, which changes no weight.
  std::vector<float> offset() const;

  /// Less their centre where it is that of most of them, and scaled where they are large or small; else as they are.
  ValueForm values() const;
};

/// Reads rows [begin, end) of K and V (and Q) of a head. Throws UsageError naming the first NaN or infinity.
TensorScan scan_head(TensorLayer const& layer, std::int64_t head, GlobalIndex begin, GlobalIndex end);

}  // namespace asymptop
