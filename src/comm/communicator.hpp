// An owned communicator, the few checked MPI calls that Asymptop makes, and a count of what they send.
//
// Counts are 64-bit everywhere: what is longer than a message may be goes in pieces. Each call here is blocking; those of
// comm/collectives.hpp, which it waits for, also run beside other work.
#pragma once

#include <mpi.h>

#include <climits>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace asymptop {

/// Throws RunError naming the call when MPI reports an error.
void check_mpi(int code, char const* call);

/// MPI's counts are int; throws RunError when a count does not fit.
int checked_count(std::size_t count);

/// Whether this MPI says that it reads and writes the memory of CUDA devices itself.
bool mpi_takes_device_memory();

/// MPI's name of an item's type.
template <class T>
MPI_Datatype mpi_type() {
  if constexpr (std::is_same_v<T, float>) return MPI_FLOAT;
  if constexpr (std::is_same_v<T, double>) return MPI_DOUBLE;
  if constexpr (std::is_same_v<T, char>) return MPI_CHAR;
  if constexpr (std::is_same_v<T, int>) return MPI_INT;
  if constexpr (std::is_same_v<T, std::int64_t>) return MPI_INT64_T;
  if constexpr (std::is_same_v<T, std::uint32_t>) return MPI_UINT32_T;
  static_assert(sizeof(T) <= 8 && std::is_arithmetic_v<T>);
  return MPI_UINT64_T;
}

/// What a rank has sent to other ranks. Point-to-point messages are counted as they are: their items, and an empty one as a message.
/// A broadcast counts as a message to every other rank from its root, a reduction over all ranks as a message from each to rank 0 and a
/// broadcast of the result, whatever MPI makes of them. Barriers, and what MPI itself adds to a message, are not counted.
struct Traffic {
  std::int64_t bytes = 0;
  std::int64_t messages = 0;
  std::int64_t rounds = 0;  ///< times that the rank had to wait for others: 1 for an exchange or a broadcast, 2 for a reduction
  Traffic& operator+=(Traffic const& more) {
    bytes += more.bytes;
    messages += more.messages;
    rounds += more.rounds;
    return *this;
  }
  Traffic operator-(Traffic const& earlier) const { return {bytes - earlier.bytes, messages - earlier.messages, rounds - earlier.rounds}; }
};

/// A duplicate of a communicator, freed on destruction. All calls throw RunError when MPI reports an error.
class Communicator {
 public:
  /// message_limit: most items of one message; the same on all ranks. Tests set a small one.
  explicit Communicator(MPI_Comm parent, std::size_t message_limit = INT_MAX);
  /// Ranks that give the same color (from 0) form a communicator of their own, in the order of their ranks here. Collective.
  Communicator split(int color) const;
  ~Communicator();
  Communicator(Communicator const&) = delete;
  Communicator& operator=(Communicator const&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool is_root() const { return rank_ == 0; }
  MPI_Comm get() const { return comm_; }
  std::size_t message_limit() const { return message_limit_; }
  /// A tag for the messages of one exchange; the same on all ranks, which make their exchanges in the same order.
  int next_tag() const { return exchanges_++ % (1u << 14) + 1; }

  /// Since the communicator was made.
  Traffic const& traffic() const { return traffic_; }
  void count_sent(std::size_t messages, std::size_t bytes) const;
  void count_rounds(int rounds) const { traffic_.rounds += size_ > 1 ? rounds : 0; }

  void barrier() const;
  /// A barrier whose waiting ranks sleep, a millisecond at a time, and leave their cores to others.
  void sleeping_barrier() const;
  void broadcast(std::vector<float>& values, int root = 0) const;         ///< sizes must agree
  void broadcast(std::vector<std::int64_t>& values, int root = 0) const;  ///< sizes must agree
  void broadcast(std::string& text, int root = 0) const;
  double max(double value) const;
  std::int64_t max(std::int64_t value) const;
  std::int64_t min(std::int64_t value) const;
  int max(int value) const;
  int min(int value) const;
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
  Communicator(Owned owned, std::size_t message_limit);
  /// pause(): between looks whether all have come.
  template <class Pause>
  void barrier_with(Pause pause) const;

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  std::size_t message_limit_;
  mutable unsigned exchanges_ = 0;
  mutable Traffic traffic_;
};

}  // namespace asymptop
