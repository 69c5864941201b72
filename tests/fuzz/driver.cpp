// Feeds a fuzz target with mutated seeds: what a machine without libFuzzer or AFL++ can do.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;
// Of this process, and of all that it may wait for.
constexpr long processor_seconds_for_one = 10;
constexpr unsigned seconds_for_one = 120;
constexpr rlim_t address_space = rlim_t{4} << 30;

// For the handler: what is being tried, and where to leave it.
Bytes const* current = nullptr;
char crash_path[128];

void leave_input(int signal) {
  int const file = open(crash_path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (file >= 0 && write(file, current->data(), current->size()) >= 0) close(file);
  char const text[] = "\nthis input is in crash-*\n";
  if (write(2, text, sizeof text - 1) < 0) _exit(3);
  std::signal(signal, SIG_DFL);
  raise(signal);
}

std::vector<Bytes> read_seeds(std::filesystem::path const& folder) {
  std::vector<std::filesystem::path> paths;
  for (auto const& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> seeds;
  for (auto const& path : paths) {
    std::ifstream in(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return seeds;
}

class Mutator {
 public:
  Mutator(std::vector<Bytes> seeds, std::uint64_t seed) : seeds_(std::move(seeds)), random_(seed) {}

  Bytes next() {
    Bytes bytes = seeds_[below(seeds_.size())];
    for (auto changes = 1 + below(below(8) == 0 ? 20 : 3); changes > 0; --changes) change(bytes);
    return bytes;
  }

 private:
  std::size_t below(std::size_t end) { return end == 0 ? 0 : random_() % end; }

  void change(Bytes& bytes) {
    auto const at = below(bytes.size());
    auto const here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    auto const left = bytes.size() - at;
    switch (below(8)) {
      case 0:
        if (left > 0) *here ^= static_cast<std::uint8_t>(1u << below(8));
        break;
      case 1:
        if (left > 0) *here = static_cast<std::uint8_t>(random_());
        break;
      case 2: {  // numbers at the edges of their types
        static constexpr std::uint64_t numbers[] = {0,          1,          0x7f,       0xff,       0x7fff, 0xffff,
                                                    0x7fffffff, 0xffffffff, 1ull << 40, ~0ull >> 1, ~0ull,  1ull << 63};
        auto const number = numbers[below(std::size(numbers))];
        auto const width = std::min<std::size_t>(std::size_t{1} << below(4), left);
        for (std::size_t i = 0; i < width; ++i) bytes[at + i] = static_cast<std::uint8_t>(number >> (8 * i));
        break;
      }
      case 3:
        bytes.erase(here, here + static_cast<std::ptrdiff_t>(std::min(left, 1 + below(16))));
        break;
      case 4:
        bytes.resize(at);
        break;
      case 5: {  // a piece of another seed
        auto const& other = seeds_[below(seeds_.size())];
        auto const from = below(other.size()), count = std::min(other.size() - from, 1 + below(64));
        bytes.insert(here, other.begin() + static_cast<std::ptrdiff_t>(from), other.begin() + static_cast<std::ptrdiff_t>(from + count));
        break;
      }
      case 6: {  // a piece of its own, over another place
        auto const from = below(bytes.size()), count = std::min({bytes.size() - from, left, 1 + below(16)});
        Bytes const piece(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.begin() + static_cast<std::ptrdiff_t>(from + count));
        std::copy(piece.begin(), piece.end(), here);
        break;
      }
      default: {
        static constexpr char const* words[] = {"n",  "log(", "sqrt(", ")", "^",   "-",   "1e308", ",",  ":",
                                                "2^", "=",    "\n",    "#", "inf", "nan", "\xff",  "[x]"};
        std::string const word = words[below(std::size(words))];
        bytes.insert(here, word.begin(), word.end());
      }
    }
  }

  std::vector<Bytes> seeds_;
  std::mt19937_64 random_;
};

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t seed = 1, runs = 10000;
  double seconds = 1e9;
  std::string folder;
  for (int i = 1; i < argc; ++i) {
    std::string const word = argv[i];
    if (i + 1 < argc && word == "--seed") {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (i + 1 < argc && word == "--runs") {
      runs = std::strtoull(argv[++i], nullptr, 10);
    } else if (i + 1 < argc && word == "--seconds") {
      seconds = std::strtod(argv[++i], nullptr);
      runs = ~std::uint64_t{0};
    } else {
      folder = word;
    }
  }
  if (!std::filesystem::is_directory(folder)) {
    std::fprintf(stderr, "usage: %s [--seed S] [--runs N | --seconds T] FOLDER-OF-SEEDS\n", argv[0]);
    return 2;
  }
  auto seeds = read_seeds(folder);
  std::printf("seed %llu, %zu seeds\n", static_cast<unsigned long long>(seed), seeds.size());
  std::snprintf(crash_path, sizeof crash_path, "crash-%s-%llu", std::filesystem::path(argv[0]).filename().c_str(),
                static_cast<unsigned long long>(seed));
  rlimit const limit{address_space, address_space};
  setrlimit(RLIMIT_AS, &limit);
  for (int const signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM, SIGPROF}) std::signal(signal, leave_input);
  std::uint64_t taken = 0, done = 0;
  auto const try_one = [&](Bytes const& bytes) {
    current = &bytes;
    alarm(seconds_for_one);
    itimerval const limit{{0, 0}, {processor_seconds_for_one, 0}};
    setitimer(ITIMER_PROF, &limit, nullptr);
    taken += LLVMFuzzerTestOneInput(bytes.data(), bytes.size()) == 0 ? 1u : 0u;
    ++done;
  };
  for (auto const& bytes : seeds) try_one(bytes);
  if (taken < seeds.size()) {
    std::fprintf(stderr, "%llu of %zu seeds are refused: they must be sound\n", static_cast<unsigned long long>(seeds.size() - taken),
                 seeds.size());
    return 1;
  }
  taken = done = 0;
  Mutator mutator(std::move(seeds), seed);
  auto const begin = std::chrono::steady_clock::now();
  auto const elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); };
  while (done < runs && elapsed() < seconds) try_one(mutator.next());
  std::printf("%llu inputs, %llu refused, %llu taken, no crash, %.1f s\n", static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(done - taken), static_cast<unsigned long long>(taken), elapsed());
  return 0;
}
