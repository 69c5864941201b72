// How HDF5 files are opened and made: locks, versions of the format, in memory.
#include <cstddef>

#include "h5/h5.hpp"

namespace asymptop::h5 {
namespace {

Handle access_properties([[maybe_unused]] Locking locking = Locking::none) {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make file properties");
#if H5_VERSION_GE(1, 10, 7)
  check(H5Pset_file_locking(access, locking == Locking::shared, true), "set file locking");
#endif
  check(H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST), "set library version bounds");
  return access;
}

}  // namespace

Handle open_file(std::string const& path, Locking locking) {
  return {H5Fopen(path.c_str(), H5F_ACC_RDONLY, access_properties(locking)), H5Fclose, "open " + path};
}

Handle create_file(std::string const& path) {
  return {H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, access_properties()), H5Fclose, "create " + path};
}

Handle create_file_in_memory(std::string const& name) {
  auto const access = access_properties();
  check(H5Pset_fapl_core(access, std::size_t{1} << 20, false), "keep a file in memory");
  // libhdf5 looks whether a file of the name is there and in use.
  auto const unused = name + ".in-memory";
  return {H5Fcreate(unused.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose, "create " + unused};
}

}  // namespace asymptop::h5
