#include "draw/run_paths.hpp"

#include <string>

#include "config/errors.hpp"
#include "kernels/path/paths.hpp"

namespace asymptop {

std::vector<Path const*> const& run_paths() {
  static std::vector<Path const*> const paths = [] {
    std::vector<Path const*> all;
    for (auto const& maker : path_makers<RunSpace>()) {
      if (maker.fast) all.push_back(maker.path);
    }
    return all;
  }();
  return paths;
}

Path const& path_in_pieces() {
  for (auto const& maker : path_makers<RunSpace>()) {
    if (maker.path->verbs.in_pieces) return *maker.path;
  }
  throw RunError("this build has no path for attention in pieces of a sequence");
}

std::unique_ptr<PathBatch<RunSpace>> make_path_batch(Path const& path, RunSpace const& space, PathRows const& rows,
                                                     TileSizes const& tiles) {
  for (auto const& maker : path_makers<RunSpace>()) {
    if (maker.path == &path) return maker.make(space, rows, tiles);
  }
  throw RunError(std::string("path ") + path.name + " is not part of this build or not for this processor");
}

}  // namespace asymptop
