#include "bench/yardsticks.hpp"

#include <unistd.h>

#include <Kokkos_Core.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "bench/sgemm_child.hpp"
#include "comm/cores.hpp"
#include "kernels/core/counts.hpp"
#include "kernels/core/fixed_point.hpp"
#include "kernels/core/simd.hpp"
#include "kernels/core/tiles.hpp"
#include "kernels/score/byte_tile.hpp"
#include "kernels/core/huge_pages.hpp"

namespace asymptop {
namespace {

using Host = Kokkos::DefaultHostExecutionSpace;

/// The widest vectors that the build may use.
#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
constexpr int lanes = simd::width;

constexpr int yardstick_samples = 5;

/// Runs work(thread) on every thread of every rank at once; seconds of this rank.
template <class Work>
double timed_together(Communicator const& comm, int threads, Work const& work) {
  comm.barrier();
  auto const begin = std::chrono::steady_clock::now();
  Kokkos::parallel_for("Asymptop::measure::yardstick", Kokkos::RangePolicy<Host, Kokkos::Schedule<Kokkos::Static>>(0, threads), work);
  Host().fence();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The same; seconds of the slowest rank.
template <class Work>
double timed_on_all(Communicator const& comm, int threads, Work const& work) {
  return comm.max(timed_together(comm, threads, work));
}

/// Independent chains: enough to fill two pipes of five cycles' latency.
constexpr int chains = 12;

float multiply_add(std::int64_t rounds, float seed) {
  simd::Floats x{}, y{}, sums[chains];
  for (int l = 0; l < lanes; ++l) {
    x[l] = 0.999f + seed * 1e-9f;
    y[l] = 0.001f + seed * 1e-9f;
  }
  for (int i = 0; i < chains; ++i) sums[i] = y * static_cast<float>(i);
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < chains; ++i) {
      if constexpr (lanes > 4) {
        sums[i] = simd::fma(sums[i], x, y);  // written out: a build for several CPUs contracts nothing
      } else {
        sums[i] = sums[i] * x + y;
      }
    }
  }
  float total = 0.0f;
  for (int i = 0; i < chains; ++i) total += sums[i][0] + sums[i][lanes - 1];
  return total;
}

/// Products of bytes in vectors, as the screen has them.
template <simd::Dot dot>
std::int32_t multiply_bytes(std::int64_t rounds, std::int32_t seed) {
  using namespace simd;
  Ints const u = broadcast(0x01020304 + seed), s = broadcast(0x04030201 + seed);
  Ints sums[chains];
  for (int i = 0; i < chains; ++i) sums[i] = broadcast(seed + i);  // chains that start alike would be made one
  for (std::int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < chains; ++i) sums[i] = dot4<dot>(sums[i], u, s);
  }
  Ints total{};
  for (auto const& sum : sums) total += sum;
  return total[0];
}

/// The same in tiles: four sums, each of a product that waits for none of the others.
void multiply_tiles(std::int64_t rounds) {
  tiles::Shapes shapes;
  for (int t = 0; t < tiles::registers; ++t) shapes.set(t, tiles::rows, tiles::row_bytes);
  tiles::configure(shapes);
  for (std::int64_t r = 0; r < rounds; ++r) {
    tiles::add_products<0, 4, 6>();
    tiles::add_products<1, 4, 7>();
    tiles::add_products<2, 5, 6>();
    tiles::add_products<3, 5, 7>();
  }
  tiles::release();
}

/// Bits of all words, so that nothing is left out; four chains of adds keep up with memory.
std::uint64_t sum_words(std::uint64_t const* words, std::size_t count) {
  using Words = std::uint64_t __attribute__((vector_size(vector_bytes)));
  constexpr std::size_t width = vector_bytes / 8;
  Words sums[4] = {};
  for (std::size_t i = 0; i + 4 * width <= count; i += 4 * width) {
    for (std::size_t j = 0; j < 4; ++j) {
      Words w;
      std::memcpy(&w, words + i + j * width, sizeof w);
      sums[j] += w;
    }
  }
  std::uint64_t total = 0;
  for (auto const& sum : sums) {
    for (std::size_t l = 0; l < width; ++l) total += sum[l];
  }
  return total;
}

}  // namespace

std::vector<std::string> usable_core_types() {
  std::vector<std::string> types;
#ifdef __x86_64__
  __builtin_cpu_init();
  bool const avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  bool const avx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
                      __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  unsigned a = 0, b = 0, c = 0, d = 0;
  bool const bf16 = __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 5)) != 0;
  bool const amx = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & (1u << 22)) != 0 && (d & (1u << 23)) != 0;  // AMX-BF16, AVX512-FP16
  if (avx2) types.insert(types.end(), {"Haswell", "Zen"});
  if (avx2 && avx512) types.push_back("SkylakeX");
  if (avx2 && avx512 && bf16) types.push_back("Cooperlake");
  if (avx2 && avx512 && bf16 && amx) types.push_back("SapphireRapids");
#endif
  return types;
}

double Yardsticks::sgemm_with(std::string const& core_type, int m, int d, std::string& kernel) {
  auto const cores = thread_cores();
  std::vector<std::unique_ptr<SgemmChild>> children;
  for (int t = 0; t < threads_; ++t) children.push_back(std::make_unique<SgemmChild>(core_type, m, yardstick_keys, d, cores[t]));
  for (auto const& child : children) kernel = child->wait_until_ready();
  comm_.barrier();
  for (auto const& child : children) child->go();
  double rate = 0.0;
  bool all = true;
  for (auto const& child : children) {
    double const one = child->measure();
    all = all && one > 0.0;
    rate += one;
  }
  bool const everywhere = comm_.max(all ? 0.0 : 1.0) == 0.0;
  rate = comm_.sum(rate);
  comm_.broadcast(kernel);
  return everywhere ? rate : 0.0;
}

SgemmRates const& Yardsticks::sgemm(int m, int d) {
  auto const [place, is_new] = sgemm_.try_emplace({m, d});
  auto& rates = place->second;
  if (!is_new || stopped()) return rates;
  rates.standard = sgemm_with("", m, d, rates.standard_kernel);
  rates.best = rates.standard;
  rates.best_kernel = rates.standard_kernel;
  // Nodes of a job may differ: what rank 0 can run is tried, and counts where it runs everywhere.
  std::string list;
  for (auto const& type : usable_core_types()) list += type + "\n";
  comm_.broadcast(list);
  for (std::size_t at = 0, end; (end = list.find('\n', at)) != std::string::npos; at = end + 1) {
    auto const type = list.substr(at, end - at);
    std::string kernel;
    if (stopped()) break;
    double const rate = sgemm_with(type, m, d, kernel);
    rates.tried.emplace_back(type, rate);
    if (rate > rates.best) {
      rates.best = rate;
      rates.best_kernel = kernel;
    }
  }
  return rates;
}

template <class Kernel>
OverRanks Yardsticks::best_rates(double operations, Kernel const& kernel) const {
  std::int64_t rounds = 10000;
  auto const work = [&](int const t) { kernel(rounds, t); };
  timed_on_all(comm_, threads_, work);
  rounds = std::max<std::int64_t>(1, to_integer(1e4 * 0.02 / timed_on_all(comm_, threads_, work)));
  OverRanks best{};
  for (int s = 0; s < yardstick_samples; ++s) {
    auto const rates = over_ranks(comm_, operations * exact_double(rounds) * threads_ / timed_together(comm_, threads_, work) / 1e9);
    if (rates.mean > best.mean) best = rates;
  }
  return best;
}

double Yardsticks::fma_gflops() {
  if (!(fma_of_ranks_.mean > 0.0)) {
    std::vector<float> sink(threads_ * 16);
    fma_of_ranks_ =
        best_rates(2.0 * chains * lanes, [&](std::int64_t rounds, int t) { sink[t * 16] = multiply_add(rounds, static_cast<float>(t)); });
  }
  return fma_of_ranks_.mean * comm_.size();
}

ByteRates const& Yardsticks::byte_gops() {
  if (bytes_.vectors > 0.0) return bytes_;
  std::vector<std::int32_t> sink(threads_ * 16);
  auto const multiply = simd::of_best_dot<simd::Dot::pairs>([]<simd::Dot dot>() { return multiply_bytes<dot>; });
  bytes_.vectors = comm_.size() *
                   best_rates(2.0 * chains * 4 * simd::width, [&](std::int64_t rounds, int t) { sink[t * 16] = multiply(rounds, t); }).mean;
  bool const everywhere = comm_.max(tiles::usable() ? 0.0 : 1.0) == 0.0;
  constexpr double products = 4.0 * tiles::rows * (tiles::row_bytes / 4) * tiles::row_bytes;
  if (everywhere) bytes_.tiles = comm_.size() * best_rates(2.0 * products, [](std::int64_t rounds, int) { multiply_tiles(rounds); }).mean;
  return bytes_;
}

device::GpuRates const& Yardsticks::gpu(int m, std::int64_t n, int d) {
  auto const [place, is_new] = gpu_.try_emplace({m, d});
  if (is_new && device::gpu().usable) place->second = device::product_rates(m, std::min(n, (std::int64_t{1} << 28) / m), d);
  return place->second;
}

double Yardsticks::gpu_copy() {
  if (gpu_copy_ < 0.0) gpu_copy_ = device::gpu().usable ? device::copy_bandwidth() : 0.0;
  return gpu_copy_;
}

double Yardsticks::read_bandwidth() const {
  // Each thread reads memory that it touched first: four times the last cache, in all, at least.
  std::size_t const cache = std::max(0L, sysconf(_SC_LEVEL3_CACHE_SIZE));
  int const cores = threads_ * comm_.size();
  std::size_t const words = std::max<std::size_t>(std::size_t{128} << 20, 4 * cache / cores) / 8;
  std::vector<std::unique_ptr<std::uint64_t[]>> arrays(threads_);
  std::vector<std::uint64_t> sink(threads_ * 8);
  timed_on_all(comm_, threads_, [&](int const t) {
    auto& array = arrays[t];
    array.reset(new std::uint64_t[words]);
    prefer_huge_pages(array.get(), 8 * words);
    std::fill_n(array.get(), words, std::uint64_t{1});
  });
  auto const work = [&](int const t) { sink[t * 8] += sum_words(arrays[t].get(), words); };
  timed_on_all(comm_, threads_, work);
  double const bytes = 8.0 * exact_double(words) * cores;
  double rate = 0.0;
  for (int s = 0; s < yardstick_samples; ++s) rate = std::max(rate, bytes / timed_on_all(comm_, threads_, work) / 1e9);
  return rate;
}

}  // namespace asymptop
