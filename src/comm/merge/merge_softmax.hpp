// Attention over keys that lie on several ranks: each rank's own softmax over its part, combined at the owner of each row.
#pragma once

#include <vector>

#include "comm/communicator.hpp"
#include "comm/task.hpp"

namespace asymptop {

/// parts: of each row in owner order, 2 + d numbers: the largest logit among this rank's keys (-infinity for none), the sum of
/// e^{logit - largest} over them, and that of e^{logit - largest} v. Returns (own rows, d), the attention output over the keys of all
/// ranks: parts are weighed by e^{largest - largest of all}, in rank order. d + 2 numbers travel per row and rank, whatever the keys.
Task<std::vector<double>> merge_softmax(Communicator const& comm, std::vector<float> parts, std::vector<int> owners, std::size_t d);

}  // namespace asymptop
