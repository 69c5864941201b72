#include "launch/performance_tools.hpp"

#ifdef ASYMPTOP_ADIAK
#include <adiak.hpp>
#include <charconv>
#include <cmath>
#include <sstream>

#include "config/option_values.hpp"
#endif
#ifdef ASYMPTOP_CALIPER
#include <caliper/cali.h>

#include <Kokkos_Core.hpp>
#endif

namespace asymptop {

PerformanceTools::PerformanceTools([[maybe_unused]] Communicator const& comm) {
#ifdef ASYMPTOP_ADIAK
  auto handle = comm.get();
  adiak::init(&handle);
  adiak::collect_all();
  adiak::walltime();
  adiak::cputime();
#endif
#ifdef ASYMPTOP_CALIPER
  // By the hooks of Kokkos, which every region passes anyway, and unless a tool that Kokkos has loaded takes regions: that may be Caliper's
  // own connector, which annotates each by itself.
  namespace tools = Kokkos::Tools::Experimental;
  if (tools::get_callbacks().push_region == nullptr) {
    tools::set_push_region_callback(cali_begin_region);
    tools::set_pop_region_callback([] { cali_end_byname("region"); });
  }
#endif
}

PerformanceTools::~PerformanceTools() {
#ifdef ASYMPTOP_ADIAK
  adiak::fini();
#endif
}

#ifdef ASYMPTOP_ADIAK

namespace {

/// Names of their own: Adiak has another `mpi_version`.
std::string own(std::string const& name) { return "asymptop." + name; }

/// Of a `long` Caliper keeps the lower 32 bits alone (2.14.0).
void report_number(std::string const& name, long long value) { adiak::value(own(name), value); }

}  // namespace

void report_to_adiak(std::string const& name, std::string const& text) {
  if (text.empty()) return;
  double number = 0.0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  bool const is_number = error == std::errc() && end == text.data() + text.size();
  if (is_number && (number != std::floor(number) || std::abs(number) > 1e15)) {
    adiak::value(own(name), number);
  } else if (is_number) {
    report_number(name, std::llround(number));
  } else {
    try {
      report_number(name, parse_size(name, text, largest_n));
    } catch (UsageError const&) {
      adiak::value(own(name), text);
    }
  }
}

void report_to_adiak(Provenance const& provenance) {
  for (auto const& [name, text] : provenance.texts) {
    if (name != "config_text") {
      bool const of_each_rank = text.find('\n') != std::string::npos;  // in the results file alone
      if (!text.empty() && !of_each_rank) adiak::value(own(name), text);
      continue;
    }
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      auto const equals = line.find(" = ");
      if (equals != std::string::npos) report_to_adiak(line.substr(0, equals), line.substr(equals + 3));
    }
  }
  for (auto const& [name, value] : provenance.integers) report_number(name, value);
  for (auto const& [name, value] : provenance.numbers) adiak::value(own(name), value);
}

void report_to_adiak(std::vector<FigureOfMerit> const& figures) {
  for (auto const& figure : figures) {
    if (std::isfinite(figure.value)) adiak::value(figure.name, figure.value, adiak_performance, figure.unit);
  }
}

#else

void report_to_adiak(std::string const&, std::string const&) {}
void report_to_adiak(Provenance const&) {}
void report_to_adiak(std::vector<FigureOfMerit> const&) {}

#endif

}  // namespace asymptop
