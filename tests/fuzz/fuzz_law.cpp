// Laws: taken only if every value is finite and positive, and k lies in [1, n].
#include <cmath>

#include "config/law.hpp"
#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace asymptop;
  std::string const text(data, data + size);
  return fuzz::answer([&] {
    for (auto const& law : parse_laws("--k", text)) {
      for (std::int64_t const n : {std::int64_t{1}, std::int64_t{4096}, std::int64_t{1} << 48}) {
        double const value = law(n);
        if (!std::isfinite(value) || value <= 0.0) std::abort();
        auto const at = rank_at(law, n);
        if (at.k < 1 || at.k > n) std::abort();
      }
    }
  });
}
