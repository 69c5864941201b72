#include "shard/tensor_layer.hpp"

#include <algorithm>
#include <cmath>

#include "config/errors.hpp"
#include "shard/stored_values.hpp"

namespace asymptop {
namespace {

constexpr GlobalIndex scan_rows = 4096;
constexpr hsize_t largest_heads = 1 << 16, largest_keys = hsize_t{1} << 48;

}  // namespace

TensorLayer::TensorLayer(hid_t file, std::string const& path, std::string const& folder, std::int64_t layer)
    : file_(file), path_(path), folder_(folder) {
  shape_.layer = layer;
  query_ = open("Q");
  key_ = open("K");
  value_ = open("V");
  check_shapes();
  read_form();
}

void TensorLayer::fail(std::string const& why) const { throw UsageError("--input", path_, why); }

void TensorLayer::check_shapes() {
  std::string const q = folder_ + "Q", k = folder_ + "K", v = folder_ + "V";
  if (key_.n != value_.n || key_.heads != value_.heads) fail("has " + k + " and " + v + " of different n or heads");
  bool const of_layer = shape_.layer >= 0;
  if (of_layer ? query_.n > key_.n : query_.n != key_.n)
    fail("has " + q + " of n = " + std::to_string(query_.n) + " and " + k + " of n = " + std::to_string(key_.n) +
         (of_layer ? "; queries are those of the last keys, so there are as many at most" : "; both must be the same sequence"));
  if (query_.d != key_.d) fail("has " + q + " of d = " + std::to_string(query_.d) + " and " + k + " of d = " + std::to_string(key_.d));
  if (query_.heads % key_.heads != 0)
    fail("has " + std::to_string(query_.heads) + " heads of " + q + ", not a multiple of its " + std::to_string(key_.heads) + " heads of " +
         k);
  shape_.n = key_.n;
  shape_.m = query_.n;
  shape_.d = key_.d;
  shape_.d_v = value_.d;
  shape_.heads = query_.heads;
  shape_.key_heads = key_.heads;
}

void TensorLayer::read_form() {
  bool const of_layer = shape_.layer >= 0;
  auto const group = h5::open_group(file_, of_layer ? folder_ : "/");
  std::string const where = of_layer ? "an attribute of " + folder_.substr(0, folder_.size() - 1) + ", " : "a root attribute ";
  auto const wrong = [&](char const* name, std::string const& allowed) {
    return "has " + where + name + ", that is " + attribute_words(group, name) + ", not " + allowed;
  };
  /// The attribute's value: 0 where there is none and there need not be.
  auto const number = [&](char const* name, bool needed, double least) {
    if (!h5::has_attribute(group, name)) {
      if (needed) fail("lacks " + where + name + ", which every layer has");
      return 0.0;
    }
    double value = 0.0;
    try {
      value = h5::read_double_attribute(group, name);
    } catch (RunError const&) {
      fail(wrong(name, "one number"));
    }
    if (!std::isfinite(value) || value < least || (needed && value == 0.0))
      fail(wrong(name, std::string("a positive number") + (needed ? "" : " or 0")));
    return value;
  };
  auto const text = [&](char const* name) {
    try {
      return h5::has_attribute(group, name) ? h5::read_text_attribute(group, name) : std::string();
    } catch (RunError const&) {
      fail(wrong(name, "a text"));
    }
  };
  auto const integer = [&](char const* name) {
    if (!h5::has_attribute(group, name)) return std::int64_t{0};
    try {
      if (auto const value = h5::read_int_attribute(group, name); value >= 0) return value;
    } catch (RunError const&) {
    }
    fail(wrong(name, "an integer from 0 on"));
  };
  auto& form = shape_.form;
  for (char const* const name : {"sinks", "alibi"}) {
    if (h5::has_attribute(group, name)) fail("has " + where + name + ", which is a dataset of a layer: a number for each head of Q");
    if (!of_layer && h5::has_link(file_, name)) fail("has a dataset " + std::string(name) + " beside Q, K and V: layers alone have it");
  }
  for (char const* const name : {"scale", "softcap", "window", "mask", "attention"}) {
    if (of_layer && h5::has_link(file_, folder_ + name)) fail("has a dataset " + folder_ + name + ", which is an attribute of the layer");
  }
  if (!of_layer) {
    if (h5::has_attribute(group, "softcap")) fail("has " + where + "softcap, which layers alone have");
    if (h5::has_attribute(group, "scale")) form.scale = number("scale", true, 0.0);
    return;
  }
  form.scale = number("scale", true, 0.0);
  form.softcap = number("softcap", false, 0.0);
  form.window = integer("window");
  integer("first_position");
  if (h5::has_attribute(group, "layer") && integer("layer") != shape_.layer)
    fail("has " + where + "layer, that is " + std::to_string(integer("layer")) + ", not the number in the group's name");
  if (!h5::has_attribute(group, "mask")) fail("lacks " + where + "mask, which every layer has: causal or none");
  auto const mask = text("mask");
  if (mask != name_of(Mask::causal) && mask != name_of(Mask::none))
    fail("has " + where + "mask '" + mask + "', which is neither causal nor none");
  form.mask = mask == name_of(Mask::causal) ? Mask::causal : Mask::none;
  if (form.window > 0 && form.mask == Mask::none)
    fail("has " + where + "mask none beside a window of " + std::to_string(form.window) + " keys, which are those up to a query's own");
  if (form.window >= shape_.n) form.window = 0;  // it cuts nothing
  form.kind = text("attention");
  if (form.kind != "" && form.kind != "global" && form.kind != "sliding")
    fail("has " + where + "attention '" + form.kind + "', which is neither global nor sliding");
  form.sinks = values_of_heads("sinks");
  form.alibi = values_of_heads("alibi");
}

std::vector<double> TensorLayer::values_of_heads(std::string const& name) const {
  if (!h5::has_link(file_, folder_ + name)) return {};
  auto const dataset = open_floats(file_, path_, folder_ + name, "");
  if (dataset.shape != std::vector<hsize_t>(1, shape_.heads))
    fail("has a dataset " + dataset.name + " of shape " + shape_text(dataset.shape) + "; it must be (" + std::to_string(shape_.heads) +
         "), a number for each head of Q");
  if (auto const why = missing_values(dataset.handle, path_); !why.empty()) fail("has a dataset " + dataset.name + " " + why);
  auto values = dataset.numbers();
  for (std::size_t head = 0; head < values.size(); ++head) {
    if (!std::isfinite(values[head])) fail("has a NaN or infinity in " + dataset.name + " at head " + std::to_string(head));
  }
  return values;
}

TensorLayer::Dataset TensorLayer::open(std::string const& name) const {
  Dataset result;
  result.FloatDataset::operator=(open_floats(file_, path_, folder_ + name, "it needs Q, K and V"));
  auto const& shape = result.shape;
  auto const rank = shape.size();
  bool const of_layer = shape_.layer >= 0;
  if (of_layer && rank != 3) fail("has a dataset " + result.name + " of shape " + shape_text(shape) + "; it must be (heads, n, d)");
  if ((rank != 2 && rank != 3) || std::find(shape.begin(), shape.end(), hsize_t{0}) != shape.end() || shape.back() > 4096) {
    fail("has a dataset " + result.name + " of shape " + shape_text(shape) +
         "; it must be (n, d) or (heads, n, d), none zero, d at most 4096");
  }
  if (shape[0] > (rank == 3 ? largest_heads : largest_keys) || shape[rank - 2] > largest_keys) {
    fail("has a dataset " + result.name + " of shape " + shape_text(shape) + "; there may be 65536 heads of 2^48 rows");
  }
  if (rank == 3 && shape[0] > shape[1] && !of_layer) {
    fail("has a dataset " + result.name + " of shape " + shape_text(shape) +
         ", which as (heads, n, d) would be more heads than rows; "
         "python3 -m asymptop convert --layout tokens-first turns (n, heads, d)");
  }
  if (auto const why = missing_values(result.handle, path_); !why.empty()) fail("has a dataset " + result.name + " " + why);
  result.has_heads = rank == 3;
  if (rank == 3) result.heads = shape[0];
  result.n = shape[shape.size() - 2];
  result.d = shape.back();
  return result;
}

void TensorLayer::read(Dataset const& dataset, std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
  if (rows <= 0) return;
  hsize_t const first = begin, length = rows, width = dataset.d;
  std::vector<hsize_t> start{first, 0}, count{length, width};
  if (dataset.has_heads) {
    start.insert(start.begin(), head);
    count.insert(count.begin(), 1);
  }
  dataset.read(start, count, out);
  // Spread from the last row on, so that none is overwritten before it is moved.
  auto const full = shape_.width();
  for (auto row = rows; row-- > 0 && dataset.d < full;) {
    std::copy_backward(out + row * dataset.d, out + (row + 1) * dataset.d, out + row * full + dataset.d);
    std::fill(out + row * full + dataset.d, out + (row + 1) * full, 0.0f);
  }
}

IndexTensors const& TensorLayer::index(std::string const& name) const {
  auto& open = indexes_[name];
  if (open == nullptr) open = std::make_unique<IndexTensors>(file_, path_, folder_ + name, IndexedSequence{n(), heads(), key_heads()});
  return *open;
}

std::vector<float> TensorScan::offset() const {
  constexpr double far = 32.0;
  double square = 0.0;
  for (double const x : centre) square += x * x;
  return std::sqrt(square) > far * key_radius ? centre : std::vector<float>();
}

ValueForm TensorScan::values() const {
  bool const apart = 2 * near_rows > rows;
  ValueForm form{apart ? value_centre : std::vector<float>(), 1.0, apart ? value_spread : largest_value};
  if (form.largest > 0.0 && (form.largest > 0x1p16 || form.largest < 0x1p-20)) {
    form.scale = std::exp2(-std::ilogb(form.largest));
    form.largest *= form.scale;
  }
  return form;
}

TensorScan scan_head(TensorLayer const& layer, std::int64_t head, GlobalIndex begin, GlobalIndex end) {
  std::size_t const d = layer.width();
  TensorScan scan;
  std::vector<float> rows(scan_rows * d);
  auto const head_rows = std::min(scan_rows, layer.n());
  layer.read_keys(head, 0, head_rows, rows.data());
  std::vector<double> mean(d, 0.0);
  for (std::size_t i = 0; i < head_rows * d; ++i) mean[i % d] += rows[i] / exact_double(head_rows);
  scan.centre.assign(mean.begin(), mean.end());  // rounded to fp32
  layer.read_values(head, 0, head_rows, rows.data());
  std::vector<float> column(head_rows);
  for (std::size_t c = 0; c < d; ++c) {
    for (std::ptrdiff_t i = 0; i < std::ssize(column); ++i) column[i] = rows[i * d + c];
    auto const half = column.begin() + std::ssize(column) / 2;
    std::nth_element(column.begin(), half, column.end());
    scan.value_centre.push_back(*half);
  }
  auto const check = [&](char const* name, GlobalIndex first, std::size_t count) {
    auto const bad = first_bad(rows.data(), count);
    if (bad < 0) return;
    std::ptrdiff_t const width = d;
    auto const row = first + bad / width, column = bad % width;
    throw UsageError("--input", layer.path(),
                     "has a NaN or infinity in " + layer.in_file(name) + " at head " + std::to_string(head) + ", row " +
                         std::to_string(row) + ", column " + std::to_string(column) + "; all values must be finite in fp32");
  };
  for (GlobalIndex first = begin; first < end; first += scan_rows) {
    auto const count = std::min(scan_rows, end - first);
    auto const values = count * d;
    auto const queries = std::max(first, layer.first_query());
    auto const query_values = std::max<GlobalIndex>(0, first + count - queries) * d;
    layer.read_queries(head, queries, first + count - queries, rows.data());
    check("Q", queries - layer.first_query(), query_values);
    for (std::size_t i = 0; i < query_values; i += d) {
      double square = 0.0;
      for (std::size_t c = 0; c < d; ++c) {
        double const x = rows[i + c];
        square += x * x;
      }
      scan.query_norm = std::max(scan.query_norm, std::sqrt(square));
    }
    layer.read_values(head, first, count, rows.data());
    check("V", first, values);
    for (std::size_t i = 0; i < values; i += d) {
      double square = 0.0, norm = 0.0;
      for (std::size_t c = 0; c < d; ++c) {
        double const x = rows[i + c], apart = x - scan.value_centre[c];
        scan.largest_value = std::max(scan.largest_value, std::fabs(x));
        scan.value_spread = std::max(scan.value_spread, std::fabs(apart));
        norm += x * x;
        square += apart * apart;
      }
      scan.near_rows += norm > 16.0 * square ? 1 : 0;
    }
    scan.rows += count;
    layer.read_keys(head, first, count, rows.data());
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
