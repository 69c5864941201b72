// What this machine can do, measured in the same run and on the same cores as the kernels that are held against it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/over_ranks.hpp"
#include "kernels/device/memory.hpp"

namespace asymptop {

/// Rates of cblas_sgemm, m x 2048 keys x d into one reused tile, on all cores of the run at once: GFLOP/s in all.
struct SgemmRates {
  double best = 0.0;
  std::string best_kernel;  ///< OpenBLAS's name of the kernel set that reached it
  double standard = 0.0;    ///< with the kernels that the BLAS picks by itself
  std::string standard_kernel;
  std::vector<std::pair<std::string, double>> tried;  ///< OPENBLAS_CORETYPE and its rate
};

/// Multiply-adds of bytes from registers, of two operations each, in 1e9 a second.
struct ByteRates {
  double vectors = 0.0;  ///< as the build's vectors have them, in several instructions where there is none for it
  double tiles = 0.0;    ///< 0 where a rank's processor has none
};

/// Keys of the sgemm yardstick's tile.
inline constexpr int yardstick_keys = 2048;

/// OPENBLAS_CORETYPE values whose instructions this CPU has.
std::vector<std::string> usable_core_types();

/// All calls are collective; rates are sums over ranks and threads.
class Yardsticks {
 public:
  /// stop: asked between its steps, on all ranks alike; once it says so, what is not measured yet stays 0.
  Yardsticks(Communicator const& comm, int threads, std::function<bool(Communicator const&)> stop = {})
      : comm_(comm), threads_(threads), stop_(std::move(stop)) {}

  /// The program starts itself anew for every kernel set, because a BLAS picks its kernels when it is loaded: one single-threaded
  /// process for each thread of each rank, all at once. Each shape is measured once a run.
  SgemmRates const& sgemm(int m, int d);
  bool knows_sgemm(int m, int d) const { return sgemm_.count({m, d}) != 0; }
  /// fp32 multiply-adds from registers: the best of a few samples, in GFLOP/s. All ranks work at once, each at its own pace.
  double fma_gflops();
  /// The same of single ranks in that sample: on shared machines cores differ. Least, mean and most.
  OverRanks fma_of_ranks() {
    fma_gflops();
    return fma_of_ranks_;
  }
  /// What screening in 8 bits could reach, measured likewise.
  ByteRates const& byte_gops();
  /// Reading memory well beyond the caches: the best of a few samples, in GB/s. Measured at every call: on shared machines it moves.
  double read_bandwidth() const;
  /// cuBLAS on the GPU, m rows x n keys (as many as a GiB of fp32 scores has room for) x d, and copies within its memory, GB/s. On rank 0
  /// alone and not collective; each is measured once a run. Zeros without a GPU.
  device::GpuRates const& gpu(int m, std::int64_t n, int d);
  double gpu_copy();

 private:
  /// Rate with one kernel set; empty name: as the BLAS picks. 0 where it does not run.
  double sgemm_with(std::string const& core_type, int m, int d, std::string& kernel);

  /// The best of a few samples of kernel(rounds, thread), of so many operations a round and thread, in 1e9 a second.
  template <class Kernel>
  OverRanks best_rates(double operations, Kernel const& kernel) const;

  bool stopped() const { return stop_ && stop_(comm_); }

  Communicator const& comm_;
  int threads_;
  std::function<bool(Communicator const&)> stop_;
  std::map<std::pair<int, int>, SgemmRates> sgemm_;
  std::map<std::pair<int, int>, device::GpuRates> gpu_;
  double gpu_copy_ = -1.0;
  OverRanks fma_of_ranks_{};
  ByteRates bytes_;
};

/// The child's side. Returns false when the arguments are not those of a child; else the program has nothing more to do.
/// To be called first of all in main(): a child needs neither MPI nor Kokkos.
bool run_as_sgemm_child(int argc, char const* const* argv);

}  // namespace asymptop
