// An owned communicator and the few checked MPI calls that Asymptop makes.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <string>
#include <vector>

namespace asymptop {

/// MPI's counts are int; throws RunError when a count does not fit.
int checked_count(std::size_t count);

/// A duplicate of a communicator, freed on destruction. All calls throw RunError when MPI reports an error.
class Communicator {
 public:
  explicit Communicator(MPI_Comm parent);
  /// Ranks that give the same color (from 0) form a communicator of their own, in the order of their ranks here. Collective.
  Communicator split(int color) const;
  ~Communicator();
  Communicator(Communicator const&) = delete;
  Communicator& operator=(Communicator const&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool is_root() const { return rank_ == 0; }
  MPI_Comm get() const { return comm_; }

  void barrier() const;
  void broadcast(std::vector<float>& values, int root = 0) const;         ///< sizes must agree
  void broadcast(std::vector<std::int64_t>& values, int root = 0) const;  ///< sizes must agree
  void broadcast(std::string& text, int root = 0) const;
  double max(double value) const;
  std::int64_t max(std::int64_t value) const;
  std::int64_t min(std::int64_t value) const;
  double sum(double value) const;  ///< for rates only: the order of the sum is MPI's
  void max(std::vector<double>& values) const;
  /// Element-wise sum over ranks of integers (exact in any order); rank r keeps `counts[r]` of them.
  std::vector<std::int64_t> reduce_scatter(std::vector<std::int64_t> const& values, std::vector<std::size_t> const& counts) const;
  void sum(std::vector<std::int64_t>& values) const;
  /// Everyone gets every rank's items, in rank order.
  std::vector<std::int64_t> all_gather(std::vector<std::int64_t> const& values) const;
  std::vector<float> all_gather(std::vector<float> const& values) const;
  std::vector<double> gather(std::vector<double> const& values) const;  ///< to rank 0, in rank order
  std::vector<std::string> gather(std::string const& text) const;       ///< to rank 0
  /// counts[r] items go to rank r. Returns what arrived, in rank order, and sets `received[r]`.
  std::vector<std::uint64_t> all_to_all(std::vector<std::uint64_t> const& values, std::vector<std::size_t> const& counts,
                                        std::vector<std::size_t>& received) const;
  std::vector<float> all_to_all(std::vector<float> const& values, std::vector<std::size_t> const& counts,
                                std::vector<std::size_t>& received) const;

 private:
  struct Owned {
    MPI_Comm comm;
  };
  explicit Communicator(Owned owned);

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace asymptop
