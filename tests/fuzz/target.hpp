// What fuzz targets share: the input as a file, and what counts as an answer.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "config/errors.hpp"

namespace asymptop::fuzz {

/// The input as a file that readers open by path; in memory where there is such a file system.
class InputFile {
 public:
  InputFile(std::uint8_t const* data, std::size_t size) {
    if (access("/dev/shm", W_OK) == 0) path_ = "/dev/shm";
    path_ += "/asymptop-fuzz-XXXXXX";
    int const file = mkstemp(path_.data());
    if (file < 0 || write(file, data, size) != static_cast<ssize_t>(size) || close(file) != 0) std::abort();
  }
  ~InputFile() { unlink(path_.c_str()); }
  InputFile(InputFile const&) = delete;
  InputFile& operator=(InputFile const&) = delete;
  std::string const& path() const { return path_; }

 private:
  std::string path_ = "/tmp";
};

/// 0 when the reader takes the input, -1 when it refuses it in one line; all else ends the program.
template <class Read>
int answer(Read const& read) {
  auto const one_line = [](std::exception const& error) {
    std::string const text = error.what();
    if (std::getenv("FUZZ_SHOW") != nullptr) std::fprintf(stderr, "refused: %s\n", text.c_str());
    if (!text.empty() && text.find('\n') == std::string::npos) return -1;
    std::fprintf(stderr, "a message of several lines: %s\n", text.c_str());
    std::abort();
  };
  try {
    read();
    return 0;
  } catch (UsageError const& error) {
    return one_line(error);
  } catch (RunError const& error) {
    return one_line(error);
  }
}

}  // namespace asymptop::fuzz
