#include "shard/index_tensors.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "config/errors.hpp"
#include "shard/stored_values.hpp"

namespace asymptop {
namespace {

constexpr hsize_t largest_index_d = 4096, most_index_heads = 1024;

FloatDataset open_index_part(hid_t file, std::string const& path, std::string const& name) {
  auto dataset = open_floats(file, path, name, "a selector file:NAME reads NAME_q and NAME_k, and NAME_w if there is one");
  if (auto const why = missing_values(dataset.handle, path); !why.empty())
    throw UsageError("--input", path, "has a dataset " + name + " " + why);
  return dataset;
}

[[noreturn]] void misshapen(FloatDataset const& dataset, std::string const& wanted) {
  throw UsageError("--input", dataset.path,
                   "has a dataset " + dataset.name + " of shape " + shape_text(dataset.shape) + "; it must be " + wanted);
}

}  // namespace

IndexTensors::IndexTensors(hid_t file, std::string const& path, std::string const& name, IndexedSequence const& sequence)
    : sequence_(sequence), query_(open_index_part(file, path, name + "_q")), key_(open_index_part(file, path, name + "_k")) {
  hsize_t const n = sequence.n, query_heads = sequence.query_heads, key_heads = sequence.key_heads;
  auto const some_heads = [&](hsize_t heads) { return heads == query_heads || heads == key_heads; };
  std::string const rows = std::to_string(n),
                    heads = std::to_string(sequence.key_heads) +
                            (sequence.key_heads == sequence.query_heads ? "" : " or " + std::to_string(sequence.query_heads));
  auto const& keys = key_.shape;
  of_heads_ = keys.size() == 3;
  if ((keys.size() != 2 && keys.size() != 3) || (of_heads_ && !some_heads(keys[0])) || keys[keys.size() - 2] != n || keys.back() == 0 ||
      keys.back() > largest_index_d)
    misshapen(key_, "(" + rows + ", d), or (heads, " + rows + ", d) with " + heads + " heads, d from 1 to 4096");
  d_ = keys.back();
  auto const& queries = query_.shape;
  std::size_t const plain = of_heads_ ? 3 : 2;
  index_axis_ = queries.size() == plain + 1;
  if ((queries.size() != plain && !index_axis_) || (of_heads_ && !some_heads(queries[0])) || queries[queries.size() - 2] != n ||
      queries.back() != keys.back() || (index_axis_ && (queries[plain - 2] == 0 || queries[plain - 2] > most_index_heads))) {
    auto const ends = rows + ", " + std::to_string(d_) + ")", of = std::string(of_heads_ ? "(heads, " : "(");
    misshapen(query_, of + ends + " or " + of + "index heads, " + ends + (of_heads_ ? " with " + heads + " heads" : "") + ", at most " +
                          std::to_string(most_index_heads) + " index heads, as " + key_.name + " is " + shape_text(keys));
  }
  if (index_axis_) index_heads_ = queries[plain - 2];
  if (!h5::has_link(file, name + "_w")) return;
  weight_ = open_index_part(file, path, name + "_w");
  std::vector<hsize_t> const wanted(queries.begin(), queries.end() - 1);
  if (weight_->shape != wanted) misshapen(*weight_, shape_text(wanted) + ", as " + query_.name + " is " + shape_text(queries));
}

/// Of a dataset with or without an axis of heads, an axis of index heads, and numbers in each row, as `key_`, `query_` and `weight_` are.
void IndexTensors::read_rows(FloatDataset const& dataset, bool of_queries, std::int64_t head, GlobalIndex begin, std::int64_t rows,
                             float* out) const {
  std::vector<hsize_t> start, count;
  auto const axis = [&](std::int64_t from, std::int64_t length) {
    start.push_back(from);
    count.push_back(length);
  };
  if (of_heads_) axis(own_head(dataset.shape[0], head), 1);
  if (of_queries && index_axis_) axis(0, index_heads_);
  axis(begin, rows);
  if (start.size() < dataset.shape.size()) axis(0, d_);
  dataset.read(start, count, out);
}

void IndexTensors::read_keys(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
  read_rows(key_, false, head, begin, rows, out);
}

void IndexTensors::read_queries(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
  read_rows(query_, true, head, begin, rows, out);
}

void IndexTensors::read_weights(std::int64_t head, GlobalIndex begin, std::int64_t rows, float* out) const {
  if (weight_) {
    read_rows(*weight_, true, head, begin, rows, out);
  } else {
    std::fill_n(out, index_heads_ * rows, 1.0f);
  }
}

void IndexTensors::scan(std::int64_t head, GlobalIndex begin, GlobalIndex end) const {
  auto const piece = std::max<GlobalIndex>(1, 4096 / index_heads_);
  std::vector<float> values(piece * index_heads_ * d_);
  auto const check = [&](std::string const& name, std::int64_t blocks, GlobalIndex first, GlobalIndex rows, std::int64_t width) {
    auto const bad = first_bad(values.data(), blocks * rows * width);
    if (bad < 0) return;
    throw UsageError(
        "--input", key_.path,
        "has a NaN or infinity in " + name + (blocks > 1 ? " at index head " + std::to_string(bad / width / rows) + "," : " at") + " row " +
            std::to_string(first + bad / width % rows) + ", column " + std::to_string(bad % width) + "; all values must be finite in fp32");
  };
  for (auto first = begin; first < end; first += piece) {
    auto const rows = std::min(piece, end - first);
    read_keys(head, first, rows, values.data());
    check(key_.name, 1, first, rows, d_);
    read_queries(head, first, rows, values.data());
    check(query_.name, index_heads_, first, rows, d_);
    if (!weight_) continue;
    read_weights(head, first, rows, values.data());
    check(weight_->name, index_heads_, first, rows, 1);
  }
}

}  // namespace asymptop
