// Draws as messages: their numbers in one order, the names of their self-checks beside them.
#include <sstream>

#include "attend/full_attention.hpp"

namespace asymptop {
namespace {

/// The order, for a writer and a reader of numbers: number(x) for each, count(list) before a list's items.
template <class Draw, class To>
void each_number(Draw& draw, To& to) {
  for (auto& x : draw.phase_seconds) to.number(x);
  to.number(draw.exact_seconds);
  to.number(draw.top_k_seconds);
  to.number(draw.bytes_sent);
  to.count(draw.output_error);
  for (auto& x : draw.output_error) to.number(x);
  to.count(draw.norms);
  for (auto& norms : draw.norms) {
    for (auto* x : {&norms.spectral, &norms.frobenius, &norms.largest_row, &norms.residual, &norms.adjoint}) to.number(*x);
    to.number(norms.iterations);
    to.number(norms.converged);
  }
  to.count(draw.residuals);
  for (auto& residual : draw.residuals) {
    to.number(residual.worst);
    to.number(residual.tolerance);
  }
}

struct Writer {
  std::vector<double> numbers;
  template <class T>
  void number(T const& value) {
    numbers.push_back(static_cast<double>(value));
  }
  template <class List>
  void count(List const& list) {
    number(list.size());
  }
};

struct Reader {
  double const* next;
  template <class T>
  void number(T& value) {
    value = static_cast<T>(*next++);
  }
  template <class List>
  void count(List& list) {
    std::size_t size = 0;
    number(size);
    list.resize(size);
  }
};

}  // namespace

std::vector<AttendDraw> gather_draws(Communicator const& comm, AttendDraw const* own) {
  Writer writer;
  std::string names;
  if (own != nullptr) {
    each_number(*own, writer);
    for (auto const& residual : own->residuals) names += residual.name + "\n" + residual.of + "\n";
  }
  auto const numbers = comm.gather(writer.numbers);
  std::string all_names;
  for (auto const& part : comm.gather(names)) all_names += part;
  std::istringstream lines(all_names);
  std::vector<AttendDraw> draws;
  for (Reader reader{numbers.data()}; reader.next != numbers.data() + numbers.size();) {
    auto& draw = draws.emplace_back();
    each_number(draw, reader);
    for (auto& residual : draw.residuals) {
      std::getline(lines, residual.name);
      std::getline(lines, residual.of);
    }
  }
  return draws;
}

}  // namespace asymptop
