#include "comm/communicator.hpp"

#include <climits>
#include <numeric>

#include "config/errors.hpp"

namespace asymptop {
namespace {

void check(int code, char const* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw RunError(std::string(call) + ": " + std::string(text, static_cast<std::size_t>(length)));
}

MPI_Comm duplicate(MPI_Comm parent) {
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Comm_dup(parent, &comm), "MPI_Comm_dup");
  return comm;
}

template <class T>
MPI_Datatype type_of();
template <>
MPI_Datatype type_of<float>() {
  return MPI_FLOAT;
}
template <>
MPI_Datatype type_of<double>() {
  return MPI_DOUBLE;
}
template <>
MPI_Datatype type_of<std::int64_t>() {
  return MPI_INT64_T;
}
template <>
MPI_Datatype type_of<std::uint64_t>() {
  return MPI_UINT64_T;
}
template <>
MPI_Datatype type_of<char>() {
  return MPI_CHAR;
}

/// Counts and displacements as MPI wants them.
struct Layout {
  std::vector<int> counts;
  std::vector<int> offsets;
  std::size_t total = 0;
  explicit Layout(std::vector<std::size_t> const& sizes) {
    for (auto const size : sizes) {
      counts.push_back(checked_count(size));
      offsets.push_back(checked_count(total));
      total += size;
    }
  }
};

std::vector<std::size_t> sizes_of_all(Communicator const& comm, std::size_t mine) {
  auto const size = static_cast<std::uint64_t>(mine);
  std::vector<std::uint64_t> all(static_cast<std::size_t>(comm.size()));
  check(MPI_Allgather(&size, 1, MPI_UINT64_T, all.data(), 1, MPI_UINT64_T, comm.get()), "MPI_Allgather");
  return {all.begin(), all.end()};
}

template <class T>
std::vector<T> all_gather_of(Communicator const& comm, std::vector<T> const& values) {
  Layout const layout(sizes_of_all(comm, values.size()));
  std::vector<T> all(layout.total);
  check(MPI_Allgatherv(values.data(), checked_count(values.size()), type_of<T>(), all.data(), layout.counts.data(), layout.offsets.data(),
                       type_of<T>(), comm.get()),
        "MPI_Allgatherv");
  return all;
}

template <class T>
std::vector<T> gather_of(Communicator const& comm, std::vector<T> const& values) {
  Layout const layout(sizes_of_all(comm, values.size()));
  std::vector<T> all(comm.is_root() ? layout.total : 0);
  check(MPI_Gatherv(values.data(), checked_count(values.size()), type_of<T>(), all.data(), layout.counts.data(), layout.offsets.data(),
                    type_of<T>(), 0, comm.get()),
        "MPI_Gatherv");
  return all;
}

template <class T>
std::vector<T> all_to_all_of(Communicator const& comm, std::vector<T> const& values, std::vector<std::size_t> const& counts,
                             std::vector<std::size_t>& received) {
  std::vector<std::uint64_t> out(counts.begin(), counts.end()), in(counts.size());
  check(MPI_Alltoall(out.data(), 1, MPI_UINT64_T, in.data(), 1, MPI_UINT64_T, comm.get()), "MPI_Alltoall");
  received.assign(in.begin(), in.end());
  Layout const sent(counts), arrived(received);
  std::vector<T> result(arrived.total);
  check(MPI_Alltoallv(values.data(), sent.counts.data(), sent.offsets.data(), type_of<T>(), result.data(), arrived.counts.data(),
                      arrived.offsets.data(), type_of<T>(), comm.get()),
        "MPI_Alltoallv");
  return result;
}

template <class T>
void broadcast_of(Communicator const& comm, T* data, std::size_t count, int root) {
  check(MPI_Bcast(data, checked_count(count), type_of<T>(), root, comm.get()), "MPI_Bcast");
}

template <class T>
T all_reduce_of(Communicator const& comm, T value, MPI_Op op) {
  T result{};
  check(MPI_Allreduce(&value, &result, 1, type_of<T>(), op, comm.get()), "MPI_Allreduce");
  return result;
}

}  // namespace

int checked_count(std::size_t count) {
  if (count > static_cast<std::size_t>(INT_MAX))
    throw RunError("a message of " + std::to_string(count) + " items is over MPI's limit of 2^31 - 1; lower --rows or k");
  return static_cast<int>(count);
}

Communicator::Communicator(MPI_Comm parent) : Communicator(Owned{duplicate(parent)}) {}

Communicator::Communicator(Owned owned) : comm_(owned.comm) {
  check(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(comm_, &size_), "MPI_Comm_size");
}

Communicator Communicator::split(int color) const {
  MPI_Comm part = MPI_COMM_NULL;
  check(MPI_Comm_split(comm_, color, rank_, &part), "MPI_Comm_split");
  return Communicator(Owned{part});
}

Communicator::~Communicator() { MPI_Comm_free(&comm_); }

void Communicator::barrier() const { check(MPI_Barrier(comm_), "MPI_Barrier"); }
void Communicator::broadcast(std::vector<float>& values, int root) const { broadcast_of(*this, values.data(), values.size(), root); }
void Communicator::broadcast(std::vector<std::int64_t>& values, int root) const { broadcast_of(*this, values.data(), values.size(), root); }
void Communicator::broadcast(std::string& text, int root) const {
  std::vector<std::int64_t> length{static_cast<std::int64_t>(text.size())};
  broadcast(length, root);
  text.resize(static_cast<std::size_t>(length[0]));
  broadcast_of(*this, text.data(), text.size(), root);
}
double Communicator::max(double value) const { return all_reduce_of(*this, value, MPI_MAX); }
std::int64_t Communicator::max(std::int64_t value) const { return all_reduce_of(*this, value, MPI_MAX); }
std::int64_t Communicator::min(std::int64_t value) const { return all_reduce_of(*this, value, MPI_MIN); }
double Communicator::sum(double value) const { return all_reduce_of(*this, value, MPI_SUM); }
void Communicator::max(std::vector<double>& values) const {
  check(MPI_Allreduce(MPI_IN_PLACE, values.data(), checked_count(values.size()), MPI_DOUBLE, MPI_MAX, comm_), "MPI_Allreduce");
}
void Communicator::sum(std::vector<std::int64_t>& values) const {
  check(MPI_Allreduce(MPI_IN_PLACE, values.data(), checked_count(values.size()), MPI_INT64_T, MPI_SUM, comm_), "MPI_Allreduce");
}
std::vector<std::int64_t> Communicator::reduce_scatter(std::vector<std::int64_t> const& values,
                                                       std::vector<std::size_t> const& counts) const {
  Layout const layout(counts);
  if (layout.total != values.size()) throw RunError("reduce_scatter: counts do not add up");
  std::vector<std::int64_t> mine(counts[static_cast<std::size_t>(rank_)]);
  check(MPI_Reduce_scatter(values.data(), mine.data(), layout.counts.data(), MPI_INT64_T, MPI_SUM, comm_), "MPI_Reduce_scatter");
  return mine;
}
std::vector<std::int64_t> Communicator::all_gather(std::vector<std::int64_t> const& values) const { return all_gather_of(*this, values); }
std::vector<float> Communicator::all_gather(std::vector<float> const& values) const { return all_gather_of(*this, values); }
std::vector<double> Communicator::gather(std::vector<double> const& values) const { return gather_of(*this, values); }
std::vector<std::string> Communicator::gather(std::string const& text) const {
  std::vector<char> const characters(text.begin(), text.end());
  auto const sizes = sizes_of_all(*this, text.size());
  auto const all = gather_of(*this, characters);
  std::vector<std::string> texts;
  if (!is_root()) return texts;
  std::size_t offset = 0;
  for (auto const size : sizes) {
    texts.emplace_back(all.data() + offset, size);
    offset += size;
  }
  return texts;
}
std::vector<std::uint64_t> Communicator::all_to_all(std::vector<std::uint64_t> const& values, std::vector<std::size_t> const& counts,
                                                    std::vector<std::size_t>& received) const {
  return all_to_all_of(*this, values, counts, received);
}
std::vector<float> Communicator::all_to_all(std::vector<float> const& values, std::vector<std::size_t> const& counts,
                                            std::vector<std::size_t>& received) const {
  return all_to_all_of(*this, values, counts, received);
}

}  // namespace asymptop
