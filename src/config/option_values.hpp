// What texts of options mean: numbers, sizes, choices, lists of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "config/errors.hpp"
#include "config/law.hpp"

namespace asymptop {

/// Context lengths go up to here.
inline constexpr std::int64_t largest_n = std::int64_t{1} << 48;

/// Throws UsageError naming the option unless the text is a whole number from low to high.
std::int64_t parse_integer(std::string const& option, std::string const& text, std::int64_t low, std::int64_t high);

/// Most threads of a rank.
inline constexpr int most_threads = 256;

/// Threads that OMP_NUM_THREADS asks for; 0 where it is absent or, as for OpenMP's own library, no list of numbers. Throws UsageError for
/// more than a rank can have.
int threads_of_openmp(char const* text);

/// `4096`, `1_000`, `2^20`, `2**20`, `1e6`, `64k` (64000) or `64Ki` (65536), from 1 to largest.
std::int64_t parse_size(std::string const& option, std::string const& text, std::int64_t largest);

/// `4096`, `4096,50000`, `2^10:2^20` (doubling), `2^10:2^20:4`; ascending, each once, in [1, largest].
std::vector<std::int64_t> parse_sizes(std::string const& option, std::string const& list, std::int64_t largest);

/// Keys per block: a power of two from 64 to 2^20.
std::int64_t parse_block(std::string const& text);

/// Heads of a tensor file, each once; none where the text is empty.
std::vector<std::int64_t> parse_numbers(std::string const& option, std::string const& list);

/// Groups of ranks: 0 for `auto`, else from 1.
int parse_groups(std::string const& text);

/// The choice whose name_of() is the text.
template <class Enum>
Enum choose(std::string const& option, std::string const& text, std::vector<Enum> const& choices) {
  std::string allowed;
  for (auto const choice : choices) {
    if (text == name_of(choice)) return choice;
    allowed += (allowed.empty() ? "" : ", ") + std::string(name_of(choice));
  }
  throw UsageError(option, text, "is none of: " + allowed);
}

/// The same for a comma-separated list of choices, each once; the item `all` stands for those of `all`, where there are some.
template <class Enum>
std::vector<Enum> choose_list(std::string const& option, std::string const& list, std::vector<Enum> const& choices,
                              std::vector<Enum> const& all = {}) {
  std::vector<Enum> chosen;
  for (auto const& item : split_list(option, list)) {
    auto const named = item == "all" && !all.empty() ? all : std::vector{choose(option, item, choices)};
    for (auto const value : named) {
      if (std::find(chosen.begin(), chosen.end(), value) != chosen.end())
        throw UsageError(option, list, "names " + std::string(name_of(value)) + " twice");
      chosen.push_back(value);
    }
  }
  return chosen;
}

/// `on` or `off`.
bool parse_switch(std::string const& option, std::string const& text);

/// Tail masses in (0, 1), each once.
std::vector<double> parse_epsilons(std::string const& list);

/// `1%` or `0.01`.
double parse_share(std::string const& option, std::string const& text);

/// `90s`, `30m`, `2h`, or a number of seconds.
double parse_duration(std::string const& option, std::string const& text);

}  // namespace asymptop
