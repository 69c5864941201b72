// Batches in flight compute one at a time.
#pragma once

#include "comm/task.hpp"

namespace asymptop {

/// A task that awaits its turn goes on when someone grants it.
class Turn final : public InFlight {
 public:
  bool advance() override {
    awaited_ = true;
    return granted_;
  }
  void take() { awaited_ = granted_ = false; }
  bool awaited() const { return awaited_; }
  void grant() { granted_ = true; }

 private:
  bool awaited_ = false, granted_ = false;
};

}  // namespace asymptop
