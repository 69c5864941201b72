// Large arrays: fewer address translations with the system's huge pages.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace asymptop {

/// Asks for huge pages behind host memory that has not been touched yet. Systems that always or never give them are left to it.
inline void prefer_huge_pages([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Whole pages of 4 KiB only; the system finds the aligned 2 MiB within them. A refusal costs speed only.
  constexpr std::uintptr_t page = 4096;
  auto const begin = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
  auto const end = (reinterpret_cast<std::uintptr_t>(memory) + bytes) / page * page;
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace asymptop
