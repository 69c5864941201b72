// The instructions of compute capability 9.0 that the screen uses: barriers in shared memory, bulk copies, warpgroup products.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace asymptop::device {

__device__ inline std::uint32_t shared_address(void const* at) { return static_cast<std::uint32_t>(__cvta_generic_to_shared(at)); }

/// `bytes`, 16 or 4, to shared memory without waiting; zeros where they are not `there`.
template <int bytes>
__device__ void copy_part(float* to, float const* from, bool there = true) {
  auto const at = shared_address(to);
  if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(there ? 16 : 0) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from), "r"(there ? 4 : 0) : "memory");
  }
}

/// A barrier of an expected number of arrivals and bytes; phases alternate.
__device__ inline void barrier_init(std::uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// Makes initialised barriers known to the copy engine.
__device__ inline void barriers_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void barrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ inline void barrier_expect(std::uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ inline void barrier_wait(std::uint32_t barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra.uni past;\n"
      "bra.uni again;\n"
      "past:\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Whether that phase is over, without waiting.
__device__ inline bool barrier_reached(std::uint32_t barrier, int parity) {
  int reached = 0;
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 done, [%1], %2;\n"
      "selp.b32 %0, 1, 0, done;\n"
      "}\n"
      : "=r"(reached)
      : "r"(barrier), "r"(parity)
      : "memory");
  return reached != 0;
}

/// Copies `bytes`, a multiple of 16, to shared memory; the barrier counts them.
__device__ inline void bulk_copy(std::uint32_t to, void const* from, int bytes, std::uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from), "r"(bytes),
               "r"(barrier)
               : "memory");
}

/// Places of shared memory that pieces of `bytes` pass through, one after another, each with a barrier that says that it is full and one
/// that it is empty.
template <int bytes>
struct Ring {
  std::uint32_t places, full, empty;
  int stages, stage = 0, parity = 0;

  __device__ Ring(std::uint32_t begin, int stage_count)
      : places(begin), full(begin + stage_count * bytes), empty(full + stage_count * 8), stages(stage_count) {}
  /// Where the shared memory after it begins.
  __device__ std::uint32_t end() const { return empty + stages * 8; }
  /// Once, by one thread: `arrivals` empty a place.
  __device__ void begin(int arrivals) const {
    for (int s = 0; s < stages; ++s) {
      barrier_init(full + s * 8, 1);
      barrier_init(empty + s * 8, arrivals);
    }
  }
  __device__ std::uint32_t piece() const { return places + stage * bytes; }
  __device__ std::uint32_t is_full() const { return full + stage * 8; }
  __device__ std::uint32_t is_empty() const { return empty + stage * 8; }
  __device__ void next() {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

/// Describes rows of 128 bytes, swizzled, eight rows to 1024 bytes, that start at an address whose first row's place is a multiple of 1024.
__device__ inline std::uint64_t swizzled_rows(std::uint32_t address) {
  return (std::uint64_t{address & 0x3ffffu} >> 4) | (std::uint64_t{1} << 16) | (std::uint64_t{64} << 32) | (std::uint64_t{1} << 62);
}

__device__ inline void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most `left` of the committed groups are under way.
template <int left>
__device__ inline void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
}

/// Registers of each thread of a warpgroup from here on.
template <int count>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}
template <int count>
__device__ inline void leave_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}

/// Accumulators of a warpgroup's product as operands: 64 rows x 128, or x 64, columns.
#define ASYMPTOP_SUMS_16(s, i)                                                                                                \
  "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]), "+f"(s[i + 6]), "+f"(s[i + 7]), \
      "+f"(s[i + 8]), "+f"(s[i + 9]), "+f"(s[i + 10]), "+f"(s[i + 11]), "+f"(s[i + 12]), "+f"(s[i + 13]), "+f"(s[i + 14]), "+f"(s[i + 15])
#define ASYMPTOP_PRODUCTS_128(numbers)                                                                    \
  asm volatile(                                                                                           \
      "{\n"                                                                                               \
      ".reg .pred p;\n"                                                                                   \
      "setp.ne.b32 p, %66, 0;\n"                                                                          \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." numbers "." numbers                                  \
      " "                                                                                                 \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                           \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                  \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                  \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "                 \
      "%64, %65, p, 1, 1, 0, 0;\n"                                                                        \
      "}\n"                                                                                               \
      : ASYMPTOP_SUMS_16(s, 0), ASYMPTOP_SUMS_16(s, 16), ASYMPTOP_SUMS_16(s, 32), ASYMPTOP_SUMS_16(s, 48) \
      : "l"(a), "l"(b), "r"(add))

/// sums (64 x 128 over a warpgroup) = a (64 x 16) * b (128 x 16)^T, plus what they were where `add`; bf16.
__device__ inline void add_products(float (&s)[64], std::uint64_t a, std::uint64_t b, int add) { ASYMPTOP_PRODUCTS_128("bf16"); }
/// The same of fp16 numbers.
__device__ inline void add_half_products(float (&s)[64], std::uint64_t a, std::uint64_t b, int add) { ASYMPTOP_PRODUCTS_128("f16"); }
#define ASYMPTOP_PRODUCTS_64(numbers)                                                     \
  asm volatile(                                                                           \
      "{\n"                                                                               \
      ".reg .pred p;\n"                                                                   \
      "setp.ne.b32 p, %37, 0;\n"                                                          \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." numbers "." numbers                   \
      " "                                                                                 \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, " \
      "{%32, %33, %34, %35}, %36, p, 1, 1, 0;\n"                                          \
      "}\n"                                                                               \
      : ASYMPTOP_SUMS_16(s, 0), ASYMPTOP_SUMS_16(s, 16)                                   \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add))

/// sums (64 x 64) likewise, a from registers: those of the sums' layout, two neighbours in a word.
__device__ inline void add_products(float (&s)[32], std::uint32_t const (&a)[4], std::uint64_t b, int add) { ASYMPTOP_PRODUCTS_64("bf16"); }
__device__ inline void add_half_products(float (&s)[32], std::uint32_t const (&a)[4], std::uint64_t b, int add) {
  ASYMPTOP_PRODUCTS_64("f16");
}

#undef ASYMPTOP_PRODUCTS_64
#undef ASYMPTOP_PRODUCTS_128
#undef ASYMPTOP_SUMS_16

}  // namespace asymptop::device
