#include "draw/run_paths.hpp"

#include <string>

#include "config/errors.hpp"
#include "kernels/path/paths.hpp"

namespace asymptop {
namespace {

PathMaker<RunSpace> maker_of(Path const& path) {
  for (auto const& maker : path_makers<RunSpace>()) {
    if (maker.path == &path) return maker;
  }
  throw RunError(std::string("path ") + path.name + " is not part of this build or not for this processor");
}

}  // namespace

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
    if (maker.path->verbs.top_k_in_pieces && maker.path->verbs.attention_in_pieces) return *maker.path;
  }
  throw RunError("this build has no path for attention in pieces of a sequence");
}

OwnedAttention<RunSpace> make_attention(Path const& path, RunSpace const& space, PathRows const& rows, TileSizes const& tiles,
                                        AttentionPass<RunSpace>::Options const& options) {
  return maker_of(path).attention(space, rows, tiles, options);
}

std::unique_ptr<PathBatch<RunSpace>> make_path_batch(Path const& path, RunSpace const& space, PathRows const& rows,
                                                     TileSizes const& tiles) {
  return maker_of(path).make(space, rows, tiles);
}

}  // namespace asymptop
