// The keys and values of one rank's shard, tile by tile: made or read when asked for (streamed), or held (resident).
// Keys come in one layout: as rows, or packed in groups.
#pragma once

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <vector>

#include "kernels/core/types.hpp"
#include "kernels/device/memory.hpp"
#include "kernels/input/input_tile.hpp"
#include "kernels/input/normal_rows.hpp"
#include "kernels/path/path.hpp"
#include "kernels/score/key_tile.hpp"
#include "kernels/score/panel.hpp"
#include "kernels/score/quantised.hpp"
#include "kernels/score/screen_tiles.hpp"
#include "kernels/core/huge_pages.hpp"
#include "shard/partition.hpp"
#include "shard/tensor_layer.hpp"

namespace asymptop {

/// Where a draw's tensors come from: streams of random numbers, or one head of a layer of a tensor file.
struct TensorOrigin {
  Stream keys{};
  Stream values{};
  TensorLayer const* file = nullptr;
  std::int64_t head = 0;
  GlobalIndex first = 0;      ///< place in the text of the first key
  std::vector<float> offset;  ///< (d): what is taken from every key of the file; empty: nothing
  InputKind input;            ///< of the keys; values are normal
  InputTables tables;
  ValueForm form{};  ///< of the file's values
};

template <class Space>
class ShardTensors {
 public:
  /// `tile`: keys of the largest tile that will be asked for; a multiple of the BLAS tile and of key_group.
  ShardTensors(Space const& space, Range const& shard, int d, int tile, bool resident, KeyLayout layout)
      : space_(space), shard_(shard), d_(d), resident_(resident), packed_(layout == KeyLayout::packed) {
    // A path's tile may be a hundred times a small shard. Packed keys come in whole groups, rows in whole tiles.
    GlobalIndex const unit = packed_ ? key_group : tile, held = resident  ? shard.size()
                                                                : packed_ ? std::min<GlobalIndex>(shard.size(), tile)
                                                                          : tile;
    rows_ = (held + unit - 1) / unit * unit;
    keys_ = unfilled("Asymptop::shard::keys", rows_);
  }

  /// Turns to the tensors of another draw. Memory is kept: pages that are touched once cost more than the numbers in them.
  void load(TensorOrigin const& origin);

  TensorOrigin const& origin() const { return origin_; }
  bool resident() const { return resident_; }
  GlobalIndex size() const { return shard_.size(); }

  /// Packed keys [first, first + count) of the shard, zeros after them in their last group; `first` is a multiple of key_group. Valid
  /// until the next call.
  float const* packed_keys(LocalIndex first, int count) {
    if (resident_) return keys_.data() + std::size_t{first} * d_;
    fill_packed(first, count, keys_.data());
    return keys_.data();
  }

  /// Keys [first, first + count) of the shard in their layout, rows with zeros up to `padded` of them. Valid until the next call.
  KeyTile key_tile(LocalIndex first, int count, int padded) {
    return packed_ ? KeyTile{packed_keys(first, count), d_, true} : KeyTile{keys(first, count, padded).data(), d_, false};
  }

  /// The same keys as the file has them, packed, where a common offset is taken from those of all other calls; read anew at every call,
  /// into memory that is there from the first one on. Valid until the next call.
  float const* packed_file_keys(LocalIndex first, int count) {
    file_keys_.resize(std::max(file_keys_.size(), packed_size(count, d_)));
    pack_file_keys(first, count, Offset::left, file_keys_.data());
    return file_keys_.data();
  }

  /// 8-bit copies of the keys that the last packed_keys() call gave. Resident keys are quantised once a draw.
  QuantisedKeys quantised_keys(LocalIndex first, int count) {
    std::int64_t const held = rows_;
    if (quantised_.extent(0) == 0) {
      quantised_ = Vector<Space, std::uint8_t>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::shard::quantised"),
                                               quantised_size(held, d_));
      bounds_ =
          Vector<Space, KeyGroupBound>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::shard::bounds"), quantised_groups(held));
    }
    QuantisedKeys const all{quantised_.data(), bounds_.data()};
    if (!resident_ || !quantised_loaded_) {
      quantise_keys(space_, keys_.data(), resident_ ? shard_.size() : count, d_, simd::screen_layout(), quantised_.data(), bounds_.data());
      space_.fence();
      quantised_loaded_ = true;
    }
    return resident_ ? all.from(first / key_group, d_) : all;
  }

  /// Whether a GPU can make keys and values itself.
  bool made_on_device() const { return origin_.file == nullptr && source_.normal() && source_.planted.extent(0) == 0; }

  /// Keys [first, first + count) in the memory of a GPU, as a screen wants them where it is asked for: made there, or those that the last
  /// packed_keys() call gave. Resident keys come there once a draw. Valid until the next call.
  device::KeysOnDevice const& keys_on_device(LocalIndex first, int count, bool screen) {
    static_assert(is_host_space<Space>);
    std::pair const range{first, count};
    if (!resident_ || !device_loaded_ || device_range_ != range) {
      if (made_on_device()) {
        device_keys_.make(normals(origin_.keys, first, count));
      } else {
        device_keys_.hold(keys_.data(), keys_.span() * sizeof(float));
        device_keys_.load(keys_.data() + (resident_ ? std::size_t{first} * d_ : 0), count, d_);
      }
    }
    device_loaded_ = true;
    device_range_ = range;
    if (screen) device_keys_.make_screen();
    return device_keys_.keys();
  }

  /// The same with their values, made there or those that the last values() call gave, and with both as attention wants them where it is
  /// asked for.
  device::KeysOnDevice const& values_on_device(LocalIndex first, int count, device::Numbers split) {
    bool const there = resident_ && device_keys_.keys().values != nullptr;
    if (!there && made_on_device()) {
      device_keys_.make_values(normals(origin_.values, first, count));
    } else if (!there) {
      device_keys_.hold(values_.data(), values_.span() * sizeof(float));
      device_keys_.load_values(values_.data() + (resident_ ? std::size_t{first} * d_ : 0));
    }
    if (split != device::Numbers::fp32) device_keys_.make_split(split);
    return device_keys_.keys();
  }

  /// `groups` packed groups of keys from evenly spaced places of a shard that holds at least as many whole ones.
  Vector<Space, float> packed_sample(int groups) {
    auto const size = std::int64_t{key_group} * d_;
    Vector<Space, float> sample(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::shard::sample"), groups * size);
    GlobalIndex const whole = shard_.size() / key_group;
    for (int g = 0; g < groups; ++g) {
      GlobalIndex const first = whole * g / groups * key_group;
      float* to = sample.data() + g * size;
      if (resident_) {
        float const* from = keys_.data() + first * d_;
        std::copy(from, from + size, to);
      } else {
        fill_packed(first, key_group, to);
      }
    }
    return sample;
  }

  /// Keys [first, first + count) of the shard, then zeros up to `padded` rows. Valid until the next call.
  Matrix<Space, float> keys(LocalIndex first, int count, int padded) { return tile(Tensor::keys, keys_, first, count, padded); }

  /// The same of the values.
  Matrix<Space, float> values(LocalIndex first, int count, int padded) {
    prepare_values();
    return tile(Tensor::values, values_, first, count, padded);
  }

  /// All values of a resident shard.
  Matrix<Space, float> all_values() {
    prepare_values();
    return values_;
  }

  /// The key of any row of the sequence by itself, apart from the tiles that passes see: d numbers. Host only.
  void key_of_row(GlobalIndex row, float* out) const { key_of_row(row, Offset::taken, out); }
  /// The same as the file has it.
  void file_key_of_row(GlobalIndex row, float* out) const { key_of_row(row, Offset::left, out); }

  /// Largest 2-norm of the shard's synthetic keys, which are made anew.
  double largest_key_norm() const;

  /// Values of the synthetic keys `which` [begin, end), in that order, made anew. Valid until the next call.
  Matrix<Space, float> gather_values(Vector<Space, PackedCandidate> const& which, std::int64_t begin, std::int64_t end) {
    std::size_t const rows = end - begin;
    if (gathered_.extent(0) < rows) {
      gathered_ = Matrix<Space, float>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "Asymptop::shard::gathered"), rows, d_);
    }
    gather_normal(space_, origin_.values, shard_.begin, which, begin, end, gathered_);
    return gathered_;
  }

 private:
  Matrix<Space, float> unfilled(char const* label, std::size_t rows) const {
    Matrix<Space, float> const matrix(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(label)), rows, d_);
    if constexpr (is_host_space<Space>) prefer_huge_pages(matrix.data(), matrix.span() * sizeof(float));
    return matrix;
  }

  static Matrix<Space, float> rows_from(Matrix<Space, float> const& matrix, std::size_t first, std::size_t count) {
    return Kokkos::subview(matrix, std::make_pair(first, first + count), Kokkos::ALL);
  }

  void prepare_values() {
    if (values_.extent(0) == 0) {
      values_ = unfilled("Asymptop::shard::values", rows_);
    }
    if (resident_ && !values_loaded_) fill(Tensor::values, 0, shard_.size(), rows_, values_);
    values_loaded_ = true;
  }

  Matrix<Space, float> tile(Tensor tensor, Matrix<Space, float> const& store, LocalIndex first, int count, int padded) {
    if (resident_) return rows_from(store, first, padded);
    fill(tensor, first, count, padded, store);
    return store;
  }

  device::NormalArguments normals(Stream stream, LocalIndex first, int count) const {
    std::uint64_t const row = shard_.begin + first;
    return {stream.key0, stream.key1, row, count, d_};
  }

  /// Whether a file's keys are less their common offset.
  enum class Offset { taken, left };

  /// Keys [first, first + count) of the file, counted from the shard's first one.
  void read_keys(GlobalIndex first, GlobalIndex count, Offset offset, float* out) const {
    origin_.file->read_keys(origin_.head, origin_.first + shard_.begin + first, count, out);
    auto const width = offset == Offset::taken ? origin_.offset.size() : 0;
    for (std::size_t i = 0; i < width * count; ++i) out[i] -= origin_.offset[i % width];
  }

  void key_of_row(GlobalIndex row, Offset offset, float* out) const;

  /// Values [first, first + count) of the file, counted from the shard's first one, in the form that the origin says.
  void read_values(GlobalIndex first, GlobalIndex count, float* out) const {
    origin_.file->read_values(origin_.head, origin_.first + shard_.begin + first, count, out);
    auto const& [offset, scale, largest] = origin_.form;
    if (offset.empty() && scale == 1.0) return;
    std::size_t const width = d_;
    for (std::size_t i = 0; i < width * count; ++i)
      out[i] = static_cast<float>((double{out[i]} - (offset.empty() ? 0.0 : double{offset[i % width]})) * scale);
  }

  /// Those keys into whole groups at `out`. Host only.
  void pack_file_keys(GlobalIndex first, GlobalIndex count, Offset offset, float* out) const;

  /// Keys [first, first + count) of the shard into whole groups at `out`.
  void fill_packed(GlobalIndex first, GlobalIndex count, float* out);

  /// Shard rows [first, first + count) into `out`, zeros after them.
  void fill(Tensor tensor, GlobalIndex first, GlobalIndex count, GlobalIndex padded, Matrix<Space, float> const& out);

  Space space_;
  TensorOrigin origin_{};
  InputSource<Space> source_;
  Range shard_;
  int d_;
  bool resident_, packed_;
  bool values_loaded_ = false, quantised_loaded_ = false, device_loaded_ = false;
  std::size_t rows_ = 0;
  Matrix<Space, float> keys_, values_, gathered_;
  std::vector<float> file_keys_;
  Vector<Space, std::uint8_t> quantised_;
  Vector<Space, KeyGroupBound> bounds_;
  std::pair<LocalIndex, int> device_range_;  ///< of the shard's keys, that are in a GPU's memory
  device::KeyCopy device_keys_;              ///< after what it holds in place
};

template <class Space>
void ShardTensors<Space>::load(TensorOrigin const& origin) {
  origin_ = origin;
  source_ = InputSource<Space>(origin.input, origin.keys, origin.tables, d_);
  values_loaded_ = quantised_loaded_ = device_loaded_ = false;
  if (resident_ && packed_) fill_packed(0, shard_.size(), keys_.data());
  if (resident_ && !packed_) fill(Tensor::keys, 0, shard_.size(), rows_, keys_);
}

template <class Space>
void ShardTensors<Space>::key_of_row(GlobalIndex row, Offset offset, float* out) const {
  static_assert(is_host_space<Space>);
  if (origin_.file != nullptr) {
    read_keys(row - shard_.begin, 1, offset, out);
  } else {
    input_row(source_, row, d_, out);
    for (std::size_t i = 0; i < source_.planted.extent(0); ++i) {
      if (source_.planted(i) == row) std::copy_n(&source_.planted_rows(i, 0), d_, out);
    }
  }
}

template <class Space>
double ShardTensors<Space>::largest_key_norm() const {
  return largest_row_norm(space_, source_, shard_.begin, shard_.size(), d_);
}

template <class Space>
void ShardTensors<Space>::fill_packed(GlobalIndex first, GlobalIndex count, float* out) {
  if constexpr (is_host_space<Space>) {
    if (origin_.file == nullptr) {
      fill_input_packed(space_, source_, shard_.begin + first, count, d_, out);
      space_.fence();
      return;
    }
    pack_file_keys(first, count, Offset::taken, out);
  }
}

template <class Space>
void ShardTensors<Space>::pack_file_keys(GlobalIndex first, GlobalIndex count, Offset offset, float* out) const {
  constexpr GlobalIndex piece = 4096;
  std::vector<float> rows(std::min(piece, count) * d_);
  for (GlobalIndex done = 0; done < count; done += piece) {
    auto const here = std::min(piece, count - done);
    read_keys(first + done, here, offset, rows.data());
    pack_keys(rows.data(), here, d_, out + done * d_);
  }
}

template <class Space>
void ShardTensors<Space>::fill(Tensor tensor, GlobalIndex first, GlobalIndex count, GlobalIndex padded, Matrix<Space, float> const& out) {
  if (origin_.file == nullptr) {
    // In pieces, so that a kernel's index stays an int.
    constexpr int piece = 1 << 20;
    for (GlobalIndex done = 0; done < padded; done += piece) {
      int const rows = count_within(padded - done, piece), real = count_within(count - done, rows);
      auto const part = rows_from(out, done, rows);
      auto const begin = shard_.begin + first + done;
      if (tensor == Tensor::keys) {
        fill_input(space_, source_, begin, real, rows, part);
      } else {
        fill_normal(space_, origin_.values, begin, real, rows, part);
      }
    }
    space_.fence();
    return;
  }
  auto const host = Kokkos::create_mirror_view(out);
  if (tensor == Tensor::keys) {
    read_keys(first, count, Offset::taken, host.data());
  } else {
    read_values(first, count, host.data());
  }
  std::fill(host.data() + count * d_, host.data() + padded * d_, 0.0f);
  Kokkos::deep_copy(space_, out, host);
  space_.fence();
}

// Making keys is much code: compiled once, in shard_tensors.cpp.
extern template class ShardTensors<Kokkos::DefaultHostExecutionSpace>;

}  // namespace asymptop
