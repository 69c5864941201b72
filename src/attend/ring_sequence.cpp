#include "attend/ring_sequence.hpp"

#include <cmath>

#include "kernels/core/math.hpp"
#include "kernels/input/normal_packed.hpp"
#include "kernels/input/normal_tile.hpp"

// Packed keys are for hosts.
#ifndef ASYMPTOP_PORTABLE_DEVICE

namespace asymptop {
namespace {

enum RingTag { key_tag = 1, value_tag = 2 };

/// Rows [run.begin, run.end) of a standard normal (., d) tensor.
void fill_rows(RingSequence::Space const& space, Stream stream, Range const& run, int d, float* out) {
  using Space = RingSequence::Space;
  using Rows = Kokkos::View<float**, Kokkos::LayoutRight, typename Space::memory_space, Kokkos::MemoryTraits<Kokkos::Unmanaged>>;
  constexpr int piece = 1 << 20;  // so that a kernel's index stays an int
  for (GlobalIndex done = 0; done < run.size(); done += piece) {
    int const rows = count_within(run.size() - done, piece);
    Matrix<Space, float> const tile(Rows(out + done * d, rows, d));
    fill_normal(space, stream, run.begin + done, rows, rows, tile);
  }
  space.fence();
}

}  // namespace

RingSequence::RingSequence(Communicator const& comm, AttendCase const& item, GlobalIndex block, TensorLayer const* file,
                           double largest_value)
    : comm_(comm),
      item_(item),
      block_(block),
      file_(file),
      largest_value_(largest_value),
      d_(item.d),
      leaf_(count_within(block, score_strip)),
      threads_(Space().concurrency()),
      rows_(rows_of(comm.rank())),
      key_ring_(comm, key_tag, [this](int rank) { return key_items(rank); }),
      value_ring_(comm, value_tag, [this](int rank) { return rows_of(rank) * d_; }) {
  for (int r = 0; r < comm.size(); ++r) most_rows_ = std::max(most_rows_, rows_of(r));
  auto const matrix = rows_ * d_;
  queries_.resize(matrix);
  keys_.resize(key_items(comm.rank()));
  values_.resize(matrix);
}

void RingSequence::load(std::uint64_t seed, std::int64_t draw) {
  float* keys = keys_.data();
  std::ptrdiff_t offset = 0;
  for (auto const& run : runs(comm_.rank())) {
    load_run(run, seed, draw, queries_.data() + offset, keys, values_.data() + offset);
    keys += packed_size(run.size(), d_);
    offset += run.size() * d_;
  }
  // The rounding of a study's queries: synthetic ones are divided, those of a file multiplied.
  double const divisor = std::sqrt(d_);
  for (auto& x : queries_) x = to_fp32(file_ == nullptr ? x / divisor : item_.scale * x);
}

void RingSequence::load_run(Range const& run, std::uint64_t seed, std::int64_t draw, float* queries, float* keys, float* values) const {
  if (file_ != nullptr) {
    file_->read_queries(item_.head, run.begin, run.size(), queries);
    file_->read_values(item_.head, run.begin, run.size(), values);
    constexpr GlobalIndex piece = 4096;  // whole groups
    std::vector<float> rows(std::min(piece, run.size()) * d_);
    for (GlobalIndex done = 0; done < run.size(); done += piece) {
      auto const here = std::min(piece, run.size() - done);
      file_->read_keys(item_.head, run.begin + done, here, rows.data());
      pack_keys(rows.data(), here, d_, keys + done * d_);
    }
    return;
  }
  Space const space;
  auto const stream = [&](Tensor tensor) { return tensor_stream(seed, draw, item_.n, item_.d, tensor); };
  fill_normal_packed(space, stream(Tensor::keys), run.begin, run.size(), d_, keys);
  fill_rows(space, stream(Tensor::values), run, d_, values);
  fill_rows(space, stream(Tensor::queries), run, d_, queries);
}

std::size_t RingSequence::rows_of(int rank) const {
  GlobalIndex rows = 0;
  for (auto const& run : runs(rank)) rows += run.size();
  return rows;
}

std::size_t RingSequence::key_items(int rank) const {
  std::size_t items = 0;
  for (auto const& run : runs(rank)) items += packed_size(run.size(), d_);
  return items;
}

GlobalIndex RingSequence::position(std::size_t row) const {
  GlobalIndex left = row;
  for (auto const& run : runs(comm_.rank())) {
    if (left < run.size()) return run.begin + left;
    left -= run.size();
  }
  return -1;
}

QueryBatch RingSequence::batch(std::size_t first, std::size_t count) const {
  QueryBatch batch{first, PackedQueries(query(first), checked_int(count), d_, leaf_), {}};
  std::size_t offset = 0;
  for (auto const& run : runs(comm_.rank())) {
    std::size_t const size = run.size();
    for (auto row = std::max(first, offset); row < std::min(first + count, offset + size); ++row)
      batch.limit.push_back(visible(run.begin + row - offset));
    offset += size;
  }
  for (auto const limit : batch.limit) batch.most = std::max(batch.most, limit);
  return batch;
}

std::unique_ptr<PathBatch<RingSequence::Space>> RingSequence::on_path(Path const& path, QueryBatch const& batch) const {
  PathRows const rows{batch.queries.rows, d_, query(batch.first), batch.limit, {}, {}, leaf_};
  return make_path_batch(path, Space(), rows, {leaf_, leaf_});
}

OwnedAttention<RingSequence::Space> RingSequence::exact_on_path() const {
  KeyRanges ranges;
  for (auto const& run : runs(comm_.rank())) {
    for (auto at = run.begin; at < run.end; ++at) ranges.limit.push_back(visible(at));
  }
  PathRows const rows{static_cast<int>(rows_), d_, queries_.data(), ranges, {}, {}, leaf_};
  AttentionPass<Space>::Options options{leaf_, 0, item_.fp32_sigma(), item_.n};
  options.block = block_;
  return make_attention(*item_.exact_path, Space(), rows, {leaf_, leaf_}, options);
}

std::vector<QueryBatch> RingSequence::batches() const {
  std::vector<QueryBatch> all;
  for (std::size_t first = 0; first < rows_; first += batch_rows()) all.push_back(batch(first, std::min(batch_rows(), rows_ - first)));
  return all;
}

std::vector<KeyPiece> RingSequence::pieces(int source, float const* keys, float const* values) const {
  std::vector<KeyPiece> all;
  std::size_t offset = 0, key_offset = 0;
  for (auto const& run : runs(source)) {
    all.push_back({run.begin, checked_int(run.size()), offset, keys == nullptr ? nullptr : keys + key_offset,
                   values == nullptr ? nullptr : values + offset * d_});
    offset += run.size();
    key_offset += packed_size(run.size(), d_);
  }
  return all;
}

}  // namespace asymptop

#endif
