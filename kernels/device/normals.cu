// Philox4x32-10 and Box-Muller, a thread for every four numbers.
#include "common.cuh"
#include "normals.hpp"

namespace asymptop::device {
namespace {

constexpr int threads = 256, key_group = 32;

__device__ float as_signed(std::uint32_t word) { return __int2float_rn(static_cast<int>(word)); }

/// box_muller() of input/philox_normal.hpp, operation by operation.
__device__ void box_muller(std::uint32_t a, std::uint32_t b, float& x, float& y) {
  float const t = __fadd_rn(as_signed(a), 0.5f);
  std::uint32_t const bits = __float_as_uint(t);
  bool const negative = (a >> 31) != 0u;
  float const f = negative ? __fmul_rn(t, 2.3283064365386963e-10f) : __fsub_rn(__uint_as_float((bits & 0x007fffffu) | 0x3f000000u), 1.0f);
  float const e = as_signed(negative ? 0u : (bits - 0x4f000000u) & 0xff800000u);
  float p = __fmaf_rn(-2.828575611114502f, f, -3.2780873775482178f);
  p = __fmaf_rn(p, f, -2.416487455368042f);
  p = __fmaf_rn(p, f, -0.36147770285606384f);
  p = __fmaf_rn(p, f, -0.5272728800773621f);
  p = __fmaf_rn(p, f, 0.48738062381744385f);
  p = __fmaf_rn(p, f, -0.6672631502151489f);
  p = __fmaf_rn(p, f, 0.9999904632568359f);
  p = __fmaf_rn(p, f, -2.0f);
  float const radius = __fsqrt_rn(__fmaf_rn(e, -1.6525917e-7f, __fmul_rn(f, p)));
  float const angle = __fmul_rn(as_signed(b), 4.656612873077393e-10f), z = __fmul_rn(angle, angle);
  float s = __fmaf_rn(-3.660915172076784e-05f, z, 0.0024910164065659046f);
  s = __fmaf_rn(s, z, -0.08074583113193512f);
  s = __fmul_rn(__fmaf_rn(s, z, 0.7853981852531433f), angle);
  float c = __fmaf_rn(-0.0003189770213793963f, z, 0.01585014909505844f);
  c = __fmaf_rn(c, z, -0.3084244132041931f);
  c = __fmaf_rn(c, z, 1.0f);
  c = __uint_as_float(__float_as_uint(c) ^ (b << 31));
  bool const swapped = (b >> 1 & 1u) != 0u;
  x = __fmul_rn(radius, swapped ? s : c);
  y = __fmul_rn(radius, swapped ? c : s);
}

/// The numbers of columns group, group + stride, group + 2 stride and group + 3 stride of a row, stride = ceil(d / 4).
__device__ void quad(NormalArguments const& a, std::uint64_t row, std::uint32_t group, float (&x)[4]) {
  std::uint32_t c0 = static_cast<std::uint32_t>(row), c1 = static_cast<std::uint32_t>(row >> 32), c2 = group, c3 = 0u;
  std::uint32_t k0 = a.key0, k1 = a.key1;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    constexpr std::uint32_t m0 = 0xD2511F53u, m1 = 0xCD9E8D57u;
    std::uint32_t const high0 = __umulhi(m0, c0), low0 = m0 * c0, high1 = __umulhi(m1, c2), low1 = m1 * c2;
    c0 = high1 ^ c1 ^ k0;
    c2 = high0 ^ c3 ^ k1;
    c1 = low1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  box_muller(c0, c1, x[0], x[1]);
  box_muller(c2, c3, x[2], x[3]);
}

/// Neighbouring threads make neighbouring rows of a group.
__global__ void __launch_bounds__(threads) packed_kernel(NormalArguments const a, float* packed) {
  int const stride = (a.d + 3) / 4;
  std::int64_t const i = std::int64_t{blockIdx.x} * threads + threadIdx.x, row = i / (key_group * stride) * key_group + i % key_group;
  if (row >= (a.count + key_group - 1) / key_group * key_group) return;
  int const column = i / key_group % stride;
  float x[4] = {};
  if (row < a.count) quad(a, a.first + static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(column), x);
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    int const c = column + q * stride;
    if (c < a.d) packed[(row / key_group * a.d + c) * key_group + row % key_group] = x[q];
  }
}

__global__ void __launch_bounds__(threads) rows_kernel(NormalArguments const a, float* rows) {
  int const stride = (a.d + 3) / 4;
  std::int64_t const i = std::int64_t{blockIdx.x} * threads + threadIdx.x, row = i / stride;
  if (row >= a.count) return;
  int const column = i % stride;
  float x[4];
  quad(a, a.first + static_cast<std::uint64_t>(row), static_cast<std::uint32_t>(column), x);
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    int const c = column + q * stride;
    if (c < a.d) rows[row * a.d + c] = x[q];
  }
}

unsigned blocks_of(std::int64_t rows, int d) { return blocks(rows * ((d + 3) / 4), threads); }

}  // namespace

void make_packed_normals(Stream stream, NormalArguments const& a, float* packed) {
  if (a.count == 0) return;
  packed_kernel<<<blocks_of((a.count + key_group - 1) / key_group * key_group, a.d), threads, 0, stream>>>(a, packed);
  check_launch("normal keys");
}

void make_normal_rows(Stream stream, NormalArguments const& a, float* rows) {
  if (a.count == 0) return;
  rows_kernel<<<blocks_of(a.count, a.d), threads, 0, stream>>>(a, rows);
  check_launch("normal rows");
}

}  // namespace asymptop::device
