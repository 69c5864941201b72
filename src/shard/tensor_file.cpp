#include "shard/tensor_file.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "config/errors.hpp"
#include "h5/trial.hpp"
#include "shard/stored_values.hpp"

namespace asymptop {
namespace {

constexpr GlobalIndex scan_rows = 4096;
constexpr hsize_t largest_heads = 1 << 16, largest_keys = hsize_t{1} << 48;

}  // namespace

TensorFile::TensorFile(std::string const& path) : path_(path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) throw UsageError("--input", path, "is not a file");
  auto const is_hdf5 = H5Fis_hdf5(path.c_str());
  if (is_hdf5 == 0) throw UsageError("--input", path, "is not an HDF5 file; python3 -m asymptop convert makes one");
  try {
    file_ = h5::open_file(path, h5::Locking::shared);
  } catch (RunError const& error) {
    throw UsageError("--input", path, std::string("does not open. ") + error.what());
  }
  query_ = open("Q");
  key_ = open("K");
  value_ = open("V");
  auto const fail = [&](std::string const& why) { throw UsageError("--input", path_, why); };
  if (key_.n != value_.n || key_.heads != value_.heads) fail("has K and V of different n or heads");
  if (query_.n != key_.n)
    fail("has Q of n = " + std::to_string(query_.n) + " and K of n = " + std::to_string(key_.n) + "; both must be the same sequence");
  if (query_.d != key_.d) fail("has Q of d = " + std::to_string(query_.d) + " and K of d = " + std::to_string(key_.d));
  if (value_.d != key_.d)
    fail("has V of d = " + std::to_string(value_.d) + " and K of d = " + std::to_string(key_.d) + "; they must be equal");
  if (query_.heads % key_.heads != 0)
    fail("has " + std::to_string(query_.heads) + " heads of Q, not a multiple of its " + std::to_string(key_.heads) + " heads of K");
  if (h5::has_attribute(file_, "scale")) {
    try {
      scale_ = h5::read_double_attribute(file_, "scale");
    } catch (RunError const&) {
      fail("has a root attribute scale that is not one number");
    }
    if (!std::isfinite(*scale_) || *scale_ <= 0.0) fail("has a root attribute scale that is not a positive number");
  }
}

std::string TensorFile::name() const { return std::filesystem::path(path_).filename().string(); }

TensorFile::Dataset TensorFile::open(std::string const& name) const {
  Dataset result;
  static_cast<FloatDataset&>(result) = open_floats(file_, path_, name, "it needs Q, K and V");
  auto const& shape = result.shape;
  auto const rank = shape.size();
  if ((rank != 2 && rank != 3) || std::find(shape.begin(), shape.end(), hsize_t{0}) != shape.end() || shape.back() > 4096) {
    throw UsageError(
        "--input", path_,
        "has a dataset " + name + " of shape " + shape_text(shape) + "; it must be (n, d) or (heads, n, d), none zero, d at most 4096");
  }
  if (shape[0] > (rank == 3 ? largest_heads : largest_keys) || shape[rank - 2] > largest_keys) {
    throw UsageError("--input", path_,
                     "has a dataset " + name + " of shape " + shape_text(shape) + "; there may be 65536 heads of 2^48 rows");
  }
  if (rank == 3 && shape[0] > shape[1]) {
    throw UsageError("--input", path_,
                     "has a dataset " + name + " of shape " + shape_text(shape) +
                         ", which as (heads, n, d) would be more heads than rows; " +
                         "python3 -m asymptop convert --layout tokens-first turns (n, heads, d)");
  }
  if (auto const why = missing_values(result.handle, path_); !why.empty())
    throw UsageError("--input", path_, "has a dataset " + name + " " + why);
  result.has_heads = rank == 3;
  if (rank == 3) result.heads = shape[0];
  result.n = shape[shape.size() - 2];
  result.d = shape.back();
  return result;
}

void TensorFile::read(Dataset const& dataset, std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
  if (rows <= 0) return;
  hsize_t const first = begin, length = rows, width = dataset.d;
  std::vector<hsize_t> start{first, 0}, count{length, width};
  if (dataset.has_heads) {
    start.insert(start.begin(), head);
    count.insert(count.begin(), 1);
  }
  dataset.read(start, count, out);
}

IndexTensors const& TensorFile::index(std::string const& name) const {
  auto& open = indexes_[name];
  if (open == nullptr) open = std::make_unique<IndexTensors>(file_, path_, name, IndexedSequence{n(), heads(), key_heads()});
  return *open;
}

void try_tensor_file(std::string const& path) {
  auto const read_ends = [&] {
    TensorFile const file(path);
    auto const rows = std::min<std::int64_t>(file.n(), 64);
    std::vector<float> out(rows * file.d());
    for (auto const head : {std::int64_t{0}, file.heads() - 1}) {
      for (auto const begin : {std::int64_t{0}, file.n() - rows}) {
        file.read_queries(head, begin, rows, out.data());
        file.read_keys(head, begin, rows, out.data());
        file.read_values(head, begin, rows, out.data());
      }
    }
  };
  if (!h5::ends_in_child(read_ends))
    throw UsageError("--input", path, "is a damaged HDF5 file: the HDF5 library does not survive reading it");
}

TensorScan scan_head(TensorFile const& file, std::int64_t head, GlobalIndex begin, GlobalIndex end) {
  std::size_t const d = file.d();
  TensorScan scan;
  std::vector<float> rows(scan_rows * d);
  auto const head_rows = std::min(scan_rows, file.n());
  file.read_keys(head, 0, head_rows, rows.data());
  std::vector<double> mean(d, 0.0);
  for (std::size_t i = 0; i < head_rows * d; ++i) mean[i % d] += rows[i] / static_cast<double>(head_rows);
  scan.centre.assign(mean.begin(), mean.end());  // rounded to fp32
  auto const check = [&](char const* name, GlobalIndex first, std::size_t count) {
    auto const bad = first_bad(rows.data(), count);
    if (bad < 0) return;
    std::ptrdiff_t const width = d;
    auto const row = first + bad / width, column = bad % width;
    throw UsageError("--input", file.path(),
                     "has a NaN or infinity in " + std::string(name) + " at head " + std::to_string(head) + ", row " + std::to_string(row) +
                         ", column " + std::to_string(column) + "; all values must be finite in fp32");
  };
  for (GlobalIndex first = begin; first < end; first += scan_rows) {
    auto const count = std::min(scan_rows, end - first);
    auto const values = count * d;
    file.read_queries(head, first, count, rows.data());
    check("Q", first, values);
    for (std::size_t i = 0; i < values; i += d) {
      double square = 0.0;
      for (std::size_t c = 0; c < d; ++c) {
        double const x = rows[i + c];
        square += x * x;
      }
      scan.query_norm = std::max(scan.query_norm, std::sqrt(square));
    }
    file.read_values(head, first, count, rows.data());
    check("V", first, values);
    for (std::size_t i = 0; i < values; ++i) scan.largest_value = std::max<double>(scan.largest_value, std::fabs(rows[i]));
    file.read_keys(head, first, count, rows.data());
    check("K", first, values);
    for (std::size_t i = 0; i < values; i += d) {
      double square = 0.0, norm = 0.0;
      for (std::size_t c = 0; c < d; ++c) {
        double const x = rows[i + c], offset = x - scan.centre[c];
        norm += x * x;
        square += offset * offset;
      }
      scan.key_radius = std::max(scan.key_radius, std::sqrt(square));
      scan.key_norm = std::max(scan.key_norm, std::sqrt(norm));
    }
  }
  return scan;
}

}  // namespace asymptop
