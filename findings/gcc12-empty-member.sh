#!/usr/bin/env bash
# gcc 12.2.0 (Debian 12's g++) makes zero bytes of a member whose default constructor sets others, where an aggregate is made from a list:
# `A{1, {}}` and `A{1}` of `struct A { int first; View view; }`. The member's class has [[no_unique_address]] members with default member
# initialisers and a defaulted constexpr constructor, as the Views of Kokkos 4.6 have (mdspan's): a View without memory should say so by a bit,
# says nothing, and its destructor follows a null pointer. Nothing is said at compile time, and no level of optimisation matters. clang 14 has it right.
#
# What to do: Kokkos 5.0 (the Views of 5.0.2 are sound), Kokkos up to 5.1 with -DKokkos_ENABLE_IMPL_MDSPAN=OFF, or clang. With Kokkos 4.6.01 as it
# is by default every study had ended with a segmentation fault; CMake tries it out now and refuses. A default member initialiser,
# `View view = {};`, and a list that ends before it help too.
#
# Compiles and runs it, and fails where it is not as described. g++ 12 is installed where it is missing (root).
set -euo pipefail
dpkg-query -W -f='${Status}' g++-12 2>/dev/null | grep -q 'install ok installed' ||
  apt-get install -y -q --no-install-recommends g++-12 >/dev/null
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >member.cpp <<'C'
#include <cstdio>
#include <new>

struct Tracker {
  unsigned long bits;
  constexpr Tracker() noexcept : bits(1) {}
  ~Tracker() {}
};
struct Handle {
  Tracker tracker;
  float* data = nullptr;
  constexpr Handle() = default;
};
struct Mapping {
  unsigned long extents[2] = {};
  constexpr Mapping() = default;
};
struct Empty {};
struct Accessor {
  [[no_unique_address]] Empty inner;
  constexpr Accessor() = default;
};
struct View {
  [[no_unique_address]] Handle handle{};
  [[no_unique_address]] Mapping mapping{};
  [[no_unique_address]] Accessor accessor{};
  constexpr View() = default;
};
struct A {
  int first;
  View view;
};
struct B {
  int first;
  View view = {};
};

template <class T>
unsigned long bits(T const* one) { return one->view.handle.tracker.bits; }

int main() {
  alignas(64) static char room[256];
  std::printf("%lu %lu %lu", bits(new (room) A{1, {}}), bits(new (room) A{1}), bits(new (room) B{1}));
}
C
g++-12 --version | head -n 1
g++-12 -std=c++20 -O1 -o member member.cpp
found=$(./member)
echo "bit of A{1, {}}, A{1} and B{1}, all to be 1: $found"
[ "$found" = "0 0 1" ] || { echo 'not as described' && exit 1; }
