// The seal at the end of a results file: a SHA-256 of all bytes before it, which tells a damaged file before HDF5 looks into it.
//
// 80 bytes of text after HDF5's last one, which readers of HDF5 do not see: `asymptop sha256 ` and 64 hexadecimal digits, so that
// `head -c -80 FILE | sha256sum` says the same.
#pragma once

#include <string>

#include "h5/h5.hpp"

namespace asymptop {

/// Appends it to a closed file. Throws RunError.
void seal_file(std::string const& path);

enum class Seal {
  whole,  ///< the bytes are those that were sealed
  none,   ///< there is no seal: written by an older version, or changed by another program since
  broken  ///< seal and bytes disagree, or something else stands in the seal's place
};
/// Reads the whole file. Throws RunError where it cannot.
Seal check_seal(std::string const& path);

/// Opens a file unless its seal is broken. Throws RunError, which says `PATH is damaged: ...`.
h5::Handle open_sealed(std::string const& path);

}  // namespace asymptop
