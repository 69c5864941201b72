// Keys by the scores of a trained indexer, whose queries and keys come with the tensors.
#pragma once

#include <string>
#include <utility>

#include "selector.hpp"

namespace asymptop {

class IndexSelector final : public Selector {
 public:
  IndexSelector(TrainedIndex index, ForcedKeys const& forced) : index_(std::move(index)), forced_(forced) {}
  TrainedIndex const* index() const override { return &index_; }
  ForcedKeys forced() const override { return forced_; }

 private:
  TrainedIndex index_;
  ForcedKeys forced_;
};

}  // namespace asymptop
