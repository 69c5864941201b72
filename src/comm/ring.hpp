// A ring of ranks: what each rank holds travels round, and all have seen all of it after as many steps as there are ranks.
//
//   step        0   1   2   3        rank r sends to r - 1 and receives from r + 1, so at step s it has what rank
//   rank 0      A   B   C   D        (r + s) mod P started with. The next is received and the present one sent on
//   rank 1      B   C   D   A        while the present one is worked on: non-blocking messages, two buffers beside
//   rank 2      C   D   A   B        the rank's own, whatever P.
//   rank 3      D   A   B   C
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "comm/communicator.hpp"

namespace asymptop {

/// Non-blocking messages to the rank before this one and from the rank after it. Both sides must know their sizes; empty ones are not
/// sent. Buffers stay untouched until wait() returns.
class RingMessages {
 public:
  /// `tag` tells the messages of several rings over one communicator apart. Messages go in pieces of at most a gigabyte, or of the
  /// communicator's limit in bytes.
  RingMessages(Communicator const& comm, int tag);
  ~RingMessages();
  RingMessages(RingMessages const&) = delete;
  RingMessages& operator=(RingMessages const&) = delete;

  void send(void const* data, std::size_t bytes);
  void receive(void* data, std::size_t bytes);
  /// Lets MPI make progress. Cheap when nothing is under way; does nothing on a thread other than the one that made this.
  void poll();
  void wait();
  std::int64_t bytes_sent() const { return bytes_sent_; }

 private:
  void look();

  Communicator const& comm_;
  int tag_;
  std::size_t piece_;
  std::thread::id thread_;
  std::vector<MPI_Request> requests_;
  std::int64_t bytes_sent_ = 0;
};

/// Buffers of one kind (keys, values, ...) on their way round. `size_of(rank)`: items that a rank starts with.
template <class T>
class Circulation {
 public:
  Circulation(Communicator const& comm, int tag, std::function<std::size_t(int)> size_of)
      : comm_(comm), messages_(comm, tag), size_of_(std::move(size_of)) {
    std::size_t largest = 0;
    for (int r = 0; r < comm.size(); ++r) largest = std::max(largest, size_of_(r));
    for (int i = 0; i < std::min(2, comm.size() - 1); ++i) spare_[i].resize(largest);
  }

  /// Starts a circulation with the rank's own items, which stay valid throughout it.
  void start(std::span<T const> own) {
    step_ = 0;
    current_ = own;
  }
  /// The rank that started with what is at hand.
  int source() const { return source_at(step_); }
  std::span<T const> current() const { return current_; }
  bool last() const { return step_ + 1 == comm_.size(); }

  /// Sends the present items on and has the next received. Not at the last step.
  void post() {
    messages_.receive(next().data(), size_of_(source_at(step_ + 1)) * sizeof(T));
    messages_.send(current_.data(), current_.size_bytes());
  }
  void poll() { messages_.poll(); }
  /// Waits for the next items and makes them the present ones.
  void advance() {
    messages_.wait();
    auto const& arrived = next();
    ++step_;
    current_ = {arrived.data(), size_of_(source())};
  }
  std::int64_t bytes_sent() const { return messages_.bytes_sent(); }

 private:
  int source_at(int step) const { return (comm_.rank() + step) % comm_.size(); }
  std::vector<T>& next() { return spare_[step_ % 2]; }

  Communicator const& comm_;
  RingMessages messages_;
  std::function<std::size_t(int)> size_of_;
  std::vector<T> spare_[2];
  std::span<T const> current_;
  int step_ = 0;
};

}  // namespace asymptop
