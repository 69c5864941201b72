// Messages of any length among ranks, in flight while other work goes on.
#pragma once

#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "comm/task.hpp"

namespace asymptop {

/// What goes to another rank. The items must stay where they are until the exchange is done.
template <class T>
struct Outgoing {
  int to;
  std::span<T const> items;
};

/// Sends a message to each rank of `out`, and receives one from each of `senders`, whose length only the sender need know. Neither
/// names this rank itself. A message goes in pieces of the communicator's limit; a shorter one, maybe empty, is its last, so that no
/// lengths travel beside it. All ranks make the exchanges of a communicator in the same order.
template <class T>
class Exchange final : public InFlight {
 public:
  Exchange(Communicator const& comm, std::vector<Outgoing<T>> const& out, std::vector<int> const& senders);
  Exchange(Exchange const&) = delete;
  Exchange& operator=(Exchange const&) = delete;

  bool advance() override;
  /// What came from each of the senders, in their order.
  std::vector<std::vector<T>> take();

 private:
  struct Incoming {
    int from;
    std::vector<std::vector<T>> pieces;
  };
  void receive(MPI_Message message, MPI_Status const& status);

  Communicator const& comm_;
  int tag_;
  std::size_t unfinished_;  ///< senders whose last piece is not on its way yet
  std::vector<MPI_Request> requests_;
  std::vector<Incoming> incoming_;
};

/// One of MPI's own non-blocking calls.
class Request final : public InFlight {
 public:
  Request() = default;
  Request(Request const&) = delete;
  Request& operator=(Request const&) = delete;

  MPI_Request* get() { return &request_; }
  bool advance() override {
    int done = 0;
    check_mpi(MPI_Test(&request_, &done, MPI_STATUS_IGNORE), "MPI_Test");
    return done != 0;
  }
  void take() const {}

 private:
  MPI_Request request_ = MPI_REQUEST_NULL;
};

}  // namespace asymptop
