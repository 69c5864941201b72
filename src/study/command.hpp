#pragma once

#include "launch/command.hpp"

namespace asymptop {

Command study_command();

}  // namespace asymptop
