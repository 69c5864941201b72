#pragma once

#include "launch/command.hpp"

namespace asymptop {

Command attend_command();

}  // namespace asymptop
