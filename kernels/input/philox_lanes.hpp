// The generator for 32 keys at once: lanes are keys, so that results are whole vectors of packed columns.
#pragma once

#include "philox_normal.hpp"

namespace asymptop {

/// Keys that lie side by side in packed form.
inline constexpr int packed_keys = 32;

/// The ten pairs of round keys of a stream.
struct RoundKeys {
  std::uint32_t k0[10], k1[10];
  explicit RoundKeys(Stream stream) {
    for (std::uint32_t i = 0; i < 10; ++i) {
      k0[i] = stream.key0 + i * philox_weyl0;
      k1[i] = stream.key1 + i * philox_weyl1;
    }
  }
};

/// Which normals of 32 rows to make, and where: those of groups [begin, end); column group + q * stride of key j, if below d, goes to
/// out[(group - begin + q * spacing) * 32 + j].
struct PackedBlock {
  int begin, end, stride, d, spacing;
  float* out;

  bool has(int group, int q) const { return group + q * stride < d; }
  float* place(int group, int q, int key) const { return out + (group - begin + q * spacing) * packed_keys + key; }
};

inline namespace ASYMPTOP_LANES_NAME {

/// Key by key: for 32 rows that cross a multiple of 2^32, and where there are no vectors.
[[gnu::noinline]] inline void packed_normals_apart(Stream stream, std::uint64_t first, PackedBlock const& block) {
  for (int l = block.begin; l < block.end; ++l) {
    for (int j = 0; j < packed_keys; ++j) {
      float x[4];
      normal_quad(stream, first + j, l, x[0], x[1], x[2], x[3]);
      for (int q = 0; q < 4 && block.has(l, q); ++q) *block.place(l, q, j) = x[q];
    }
  }
}

#if defined(__CUDACC__)
inline void packed_normals(RoundKeys const&, Stream stream, std::uint64_t first, PackedBlock const& block) {
  packed_normals_apart(stream, first, block);
}

inline void turn_packed(float const* packed, int keys, int columns, int d, float* out) {
  for (int j = 0; j < keys; ++j) {
    for (int c = 0; c < columns; ++c) out[std::int64_t{j} * d + c] = packed[c * packed_keys + j];
  }
}
#else
/// One vector of keys inside Philox: even and odd keys apart, since products are twice as wide as words.
struct PhiloxLanes {
  WideLanes c0[2], c1[2], c2[2], c3[2];

  ASYMPTOP_LANES_INLINE void round(std::uint32_t k0, std::uint32_t k1) {
    for (int h = 0; h < 2; ++h) {
      WideLanes const p0 = multiply_words(c0[h], WideLanes{} + philox_multiplier0);
      WideLanes const p1 = multiply_words(c2[h], WideLanes{} + philox_multiplier1);
      c0[h] = (p1 >> 32) ^ c1[h] ^ k0;
      c2[h] = (p0 >> 32) ^ c3[h] ^ k1;
      c1[h] = p1;
      c3[h] = p0;
    }
  }

  /// The last round brings even and odd keys together.
  ASYMPTOP_LANES_INLINE void last_round(std::uint32_t k0, std::uint32_t k1, WordLanes (&words)[4]) const {
    WideLanes p0[2], p1[2];
    for (int h = 0; h < 2; ++h) {
      p0[h] = multiply_words(c0[h], WideLanes{} + philox_multiplier0);
      p1[h] = multiply_words(c2[h], WideLanes{} + philox_multiplier1);
    }
    words[0] = interleave_upper(p1[0], p1[1]) ^ interleave_lower(c1[0], c1[1]) ^ k0;
    words[1] = interleave_lower(p1[0], p1[1]);
    words[2] = interleave_upper(p0[0], p0[1]) ^ interleave_lower(c3[0], c3[1]) ^ k1;
    words[3] = interleave_lower(p0[0], p0[1]);
  }
};

/// The part of Philox's first two rounds that depends on the rows [first, first + 32) alone; they share the upper half of their number.
/// Round 1 multiplies the row's lower word and the group. In round 2 one factor is still the same for all 32 keys, and the other is the
/// same for all groups. So per group of columns eight rounds of vector products remain.
struct PackedRows {
  static constexpr int vectors = packed_keys / lane_count;
  WideLanes c0[vectors][2], c1[vectors][2], c2[vectors][2];
  std::uint32_t upper;

  PackedRows(RoundKeys const& keys, std::uint64_t first) : upper(high_word(first)) {
    for (int v = 0; v < vectors; ++v) {
      for (int h = 0; h < 2; ++h) {
        WideLanes row{};
        for (int l = 0; l < lane_count / 2; ++l) row[l] = first + (v * lane_count + 2 * l + h);
        WideLanes const p0 = multiply_words(row, WideLanes{} + philox_multiplier0);
        WideLanes const p1 = multiply_words((p0 >> 32) ^ keys.k1[0], WideLanes{} + philox_multiplier1);
        c0[v][h] = (p1 >> 32) ^ keys.k0[1];
        c1[v][h] = p1;
        c2[v][h] = p0 ^ keys.k1[1];
      }
    }
  }

  /// Normals of group `group`, vector `v` of the keys: those of columns group + q * stride in out[q].
  template <int count>
  ASYMPTOP_LANES_INLINE void quad(RoundKeys const& keys, std::uint32_t group, int v, FloatLanes (&out)[count][4]) const {
    std::uint64_t const p1 = std::uint64_t{philox_multiplier1} * group;
    std::uint64_t const p0 = std::uint64_t{philox_multiplier0} * (high_word(p1) ^ upper ^ keys.k0[0]);
    WideLanes const group0 = WideLanes{} + low_word(p1), group2 = WideLanes{} + (p0 >> 32), group3 = WideLanes{} + p0;
    PhiloxLanes state[count];
    for (int i = 0; i < count; ++i) {
      for (int h = 0; h < 2; ++h) {
        state[i].c0[h] = c0[v + i][h] ^ group0;
        state[i].c1[h] = c1[v + i][h];
        state[i].c2[h] = c2[v + i][h] ^ group2;
        state[i].c3[h] = group3;
      }
    }
    ASYMPTOP_LANES_UNROLL(8)
    for (int r = 2; r < 9; ++r) {
      for (int i = 0; i < count; ++i) state[i].round(keys.k0[r], keys.k1[r]);
    }
    for (int i = 0; i < count; ++i) {
      WordLanes words[4];
      state[i].last_round(keys.k0[9], keys.k1[9], words);
      box_muller(words[0], words[1], out[i][0], out[i][1]);
      box_muller(words[2], words[3], out[i][2], out[i][3]);
    }
  }
};

/// Normals of rows [first, first + 32).
inline void packed_normals(RoundKeys const& keys, Stream stream, std::uint64_t first, PackedBlock const& block) {
  if (((first + packed_keys - 1) >> 32) != (first >> 32)) return packed_normals_apart(stream, first, block);
  PackedRows const rows(keys, first);
  constexpr int together = PackedRows::vectors % 2 == 0 ? 2 : 1;  // independent work for the latencies of one vector
  for (int l = block.begin; l < block.end; ++l) {
    for (int v = 0; v < PackedRows::vectors; v += together) {
      FloatLanes x[together][4];
      rows.quad<together>(keys, l, v, x);
      for (int q = 0; q < 4 && block.has(l, q); ++q) {
        for (int i = 0; i < together; ++i) memcpy(block.place(l, q, (v + i) * lane_count), &x[i][q], sizeof x[i][q]);
      }
    }
  }
}

/// Columns of packed keys, row by row: element (key j, column c) goes to out[j * d + c] for j < keys, c < columns.
inline void turn_packed(float const* packed, int keys, int columns, int d, float* out) {
  for (int j = 0; j < keys; j += lane_count) {
    for (int c = 0; c < columns; c += lane_count) {
      // Columns past the end are read where `packed` still has room, and not stored.
      FloatLanes square[lane_count];
      for (int i = 0; i < lane_count; ++i) memcpy(&square[i], packed + (c + i) * packed_keys + j, sizeof square[i]);
      transpose(square);
      float* const to = out + std::int64_t{j} * d + c;
      int const rows = keys - j < lane_count ? keys - j : lane_count;
      if (columns - c >= lane_count) {
        for (int i = 0; i < rows; ++i) memcpy(to + std::int64_t{i} * d, &square[i], sizeof square[i]);
      } else {
        for (int i = 0; i < rows; ++i) memcpy(to + std::int64_t{i} * d, &square[i], sizeof(float) * (columns - c));
      }
    }
  }
}

#endif

/// Rows [first, first + count), count <= 32, row by row: row j at out + j * d. Made in packed form, up to 64 columns at a time, and turned.
inline void row_normals(RoundKeys const& keys, Stream stream, std::uint64_t first, int count, int d, float* out) {
  constexpr int block = 16;
  alignas(64) float packed[4 * block * packed_keys] = {};
  int const stride = normal_stride(d);
  for (int begin = 0; begin < stride; begin += block) {
    int const end = begin + block < stride ? begin + block : stride;
    packed_normals(keys, stream, first, {begin, end, stride, d, block, packed});
    for (int q = 0; q < 4; ++q) {
      int const column = begin + q * stride, columns = end - begin < d - column ? end - begin : d - column;
      turn_packed(packed + q * block * packed_keys, count, columns, d, out + column);
    }
  }
}

}  // namespace ASYMPTOP_LANES_NAME
}  // namespace asymptop
