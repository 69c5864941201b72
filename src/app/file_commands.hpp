// Commands over results files.
#pragma once

namespace asymptop {

/// 0 equal, 1 not.
int run_compare(int argc, char const* const* argv);
int run_merge(int argc, char const* const* argv);
int run_info(int argc, char const* const* argv);

}  // namespace asymptop
