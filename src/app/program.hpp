// The program.
#pragma once

namespace asymptop {

/// `asymptop COMMAND [options]`: returns the exit code.
int run_program(int argc, char** argv);

}  // namespace asymptop
