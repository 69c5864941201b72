// Reading a file of unknown origin for the first time: in a copy of the process, which may come to grief.
#pragma once

#include <cstdint>
#include <functional>

namespace asymptop::h5 {

/// Whether `read` ends, with or without an exception, when run in a child process: libhdf5 (1.10 and later) crashes, loops or asks for
/// all memory on some damaged files. The child has 10 s of processor time, 1 s more for each 20 MB of the `bytes` that it reads, and 16 GB
/// of address space more than this process has. `read` must only read; what it changes is lost. Call it before other threads hold locks,
/// and with nothing in flight.
bool ends_in_child(std::function<void()> const& read, std::uintmax_t bytes = 0);

}  // namespace asymptop::h5
