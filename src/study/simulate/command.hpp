#pragma once

#include "launch/command.hpp"

namespace asymptop {

Command simulate_command();

}  // namespace asymptop
