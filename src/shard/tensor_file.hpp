// Real tensors: datasets Q, K, V of an HDF5 file, each (n, d) or (heads, n, d), float32 or float64; MATLAB's files have these axes in
// reverse and are turned.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "h5/h5.hpp"
#include "kernels/core/types.hpp"
#include "shard/float_dataset.hpp"
#include "shard/index_tensors.hpp"

namespace asymptop {

/// Open for reading on every rank; each rank reads only the rows it asks for.
class TensorFile {
 public:
  /// Throws UsageError naming the dataset that is missing, misshapen or of another type.
  explicit TensorFile(std::string const& path);

  std::string const& path() const { return path_; }
  std::string name() const;  ///< without folders
  std::int64_t heads() const { return query_.heads; }
  std::int64_t n() const { return key_.n; }
  std::int64_t d() const { return key_.d; }
  std::int64_t key_heads() const { return key_.heads; }
  bool reversed() const { return query_.reversed; }       ///< Q was turned from MATLAB's order of axes
  std::optional<double> scale() const { return scale_; }  ///< root attribute `scale`, if any

  /// Rows [begin, begin + rows) of one query head's Q, K or V as fp32 into out (rows x d). Query heads share key heads in
  /// equal groups (grouped-query attention).
  void read_queries(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const { read(query_, head, begin, rows, out); }
  void read_keys(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
    read(key_, key_head(head), begin, rows, out);
  }
  void read_values(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
    read(value_, key_head(head), begin, rows, out);
  }

  /// A trained indexer's tensors of that name; not from several threads at once. Throws UsageError (index_tensors.hpp).
  IndexTensors const& index(std::string const& name) const;

 private:
  struct Dataset : FloatDataset {
    std::int64_t heads = 1, n = 0, d = 0;
    bool has_heads = false;
  };
  Dataset open(std::string const& name) const;
  void read(Dataset const& dataset, std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const;
  std::int64_t key_head(std::int64_t head) const { return head / (query_.heads / key_.heads); }

  std::string path_;
  h5::Handle file_;
  Dataset query_, key_, value_;
  std::optional<double> scale_;
  mutable std::map<std::string, std::unique_ptr<IndexTensors>> indexes_;  ///< opened where they are first asked for
};

/// Throws UsageError when libhdf5 does not survive opening the file and reading the ends of its tensors, which is tried in a child process.
/// Says nothing about other faults: TensorFile finds them.
void try_tensor_file(std::string const& path);

/// What a look at every value of a head finds out.
struct TensorScan {
  std::vector<float> centre;   ///< (d): mean of the first keys, a point near the keys' middle
  double key_radius = 0.0;     ///< largest ‖k - centre‖
  double query_norm = 0.0;     ///< largest ‖q‖
  double key_norm = 0.0;       ///< largest ‖k‖
  double largest_value = 0.0;  ///< largest |v|
};

/// Reads rows [begin, end) of K and V (and Q) of a head. Throws UsageError naming the first NaN or infinity.
TensorScan scan_head(TensorFile const& file, std::int64_t head, GlobalIndex begin, GlobalIndex end);

}  // namespace asymptop
