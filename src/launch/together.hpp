// What ranks find out apart and must go on from together: an error of one becomes an error of all.
#pragma once

#include <optional>
#include <string>

#include "comm/communicator.hpp"
#include "config/errors.hpp"
#include "results/provenance.hpp"

namespace asymptop {

/// Runs `work` on every rank and returns what it returns. A UsageError on any of them is thrown on all; if it was met on another host
/// than rank 0's, where the same file may be another, it says so.
template <class Work>
auto together(Communicator const& comm, Work const& work) {
  std::optional<decltype(work())> result;
  std::string trouble;
  try {
    result = work();
  } catch (UsageError const& error) {
    trouble = error.what();
  }
  int const first = comm.min(result ? comm.size() : comm.rank());
  if (first == comm.size()) return std::move(*result);
  auto host = host_name();
  comm.broadcast(host);
  if (host != host_name()) trouble += " (met on host " + host_name() + ")";
  comm.broadcast(trouble, first);
  throw UsageError(trouble);
}

/// Runs `check` on rank 0; a UsageError there is thrown on all ranks. Looking at files from every rank would race with the first
/// rank that goes on to write.
template <class Check>
void check_on_root(Communicator const& comm, Check const& check) {
  std::string trouble;
  if (comm.is_root()) {
    try {
      check();
    } catch (UsageError const& error) {
      trouble = error.what();
    }
  }
  comm.broadcast(trouble);
  if (!trouble.empty()) throw UsageError(trouble);
}

}  // namespace asymptop
