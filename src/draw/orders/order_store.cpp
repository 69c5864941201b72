#include "draw/orders/order_store.hpp"

#include <Kokkos_Core.hpp>
#include <algorithm>

namespace asymptop {

void answer_from_windows(std::vector<StoredWindow> const& windows, std::vector<OrderQuestion> const& questions, OrderAnswers& answers) {
  using Host = Kokkos::DefaultHostExecutionSpace;
  Kokkos::parallel_for("Asymptop::select::windows", Kokkos::RangePolicy<Host>(0, questions.size()), [&](int const q) {
    auto const& question = questions[q];
    if (question.store < 0) return;
    auto const& window = windows[question.store];
    for (auto const& stored : window.entries) {
      auto const entry = window.first_entry + stored.entry;
      auto const keys = window.seen.of_page(entry, window.page).size();
      int const bin = question.grid.bin_of(standing_of(stored.key, window.places), entry);
      if (question.ask == Ask::entries) {
        if (bin == question.wanted) answers.entries[q].push_back({stored.key, entry, keys, stored.mass});
      } else {
        auto* const to = answers.of(q) + bin * sums_of_bin(question.ask);
        to[bin_keys] += keys;
        to[bin_mass] += stored.mass;
      }
    }
  });
  Host().fence();
}

}  // namespace asymptop
