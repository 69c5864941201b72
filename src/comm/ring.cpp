#include "comm/ring.hpp"

#include <algorithm>

#include "comm/waiting.hpp"

namespace asymptop {
namespace {

/// Calls post(offset, bytes) for every piece of a message.
template <class Post>
void in_pieces(std::size_t bytes, std::size_t piece, Post const& post) {
  for (std::size_t offset = 0; offset < bytes; offset += piece) post(offset, checked_count(std::min(piece, bytes - offset)));
}

}  // namespace

RingMessages::RingMessages(Communicator const& comm, int tag)
    : comm_(comm), tag_(tag), piece_(std::min(std::size_t{1} << 30, comm.message_limit())), thread_(std::this_thread::get_id()) {}

RingMessages::~RingMessages() {
  // Only an exception leaves messages under way, and it ends the run; their buffers must not be written into until then.
  if (!requests_.empty()) MPI_Waitall(checked_count(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE);
}

void RingMessages::send(void const* data, std::size_t bytes) {
  int const to = (comm_.rank() + comm_.size() - 1) % comm_.size();
  in_pieces(bytes, piece_, [&](std::size_t offset, int count) {
    check_mpi(MPI_Isend(static_cast<char const*>(data) + offset, count, MPI_BYTE, to, tag_, comm_.get(), &requests_.emplace_back()),
              "MPI_Isend");
  });
  bytes_sent_ += bytes;
}

void RingMessages::receive(void* data, std::size_t bytes) {
  int const from = (comm_.rank() + 1) % comm_.size();
  in_pieces(bytes, piece_, [&](std::size_t offset, int count) {
    check_mpi(MPI_Irecv(static_cast<char*>(data) + offset, count, MPI_BYTE, from, tag_, comm_.get(), &requests_.emplace_back()),
              "MPI_Irecv");
  });
}

void RingMessages::poll() {
  if (!requests_.empty() && std::this_thread::get_id() == thread_) look();
}

void RingMessages::look() {
  int done = 0;
  check_mpi(MPI_Testall(checked_count(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
  if (done != 0) requests_.clear();
}

void RingMessages::wait() {
  // Where ranks share cores, not in a call that may keep this rank's.
  for (Waiting waiting; cores_are_shared && !requests_.empty(); waiting.pause()) look();
  if (requests_.empty()) return;
  check_mpi(MPI_Waitall(checked_count(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
  requests_.clear();
}

}  // namespace asymptop
