#pragma once

#include "launch/command.hpp"

namespace asymptop {

Command precision_command();

}  // namespace asymptop
