// Checks that only one rank should make, with an outcome that all ranks share.
#pragma once

#include <string>

#include "comm/communicator.hpp"
#include "config/errors.hpp"

namespace asymptop {

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
