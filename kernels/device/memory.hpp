// The GPU that device kernels run on, and memory of it and for it. Nothing here needs CUDA's headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "attention.hpp"
#include "normals.hpp"

struct CUevent_st;

namespace asymptop::device {

/// What is known of the GPU that this process uses.
struct Gpu {
  bool usable = false;  ///< there is one, of compute capability 9.0
  std::string name;
  std::string bus;       ///< its place on the node, as 0000:3b:00.0
  std::uint64_t id = 0;  ///< differs between GPUs, also of different nodes
  int multiprocessors = 0;
  double memory_bytes = 0.0;  ///< free when first asked for
};

/// Rates of cuBLAS on this device at one shape.
struct GpuRates {
  double fp32_gflops = 0.0, tf32_gflops = 0.0, bf16_gflops = 0.0;
};

#ifdef ASYMPTOP_DEVICE
Gpu const& gpu();
/// The process takes that of number `place` among those that it sees, counted round. Before gpu() is asked for the first time.
void choose_gpu(int place);
/// Bytes that Memory holds now, the most since reset_most_memory(), and the most ever. A context, code and NCCL's buffers are not among
/// them.
std::size_t memory_held();
std::size_t most_memory();
std::size_t most_memory_ever();
void reset_most_memory();
/// (m, d) x (keys, d)^T, medians of ten.
GpuRates product_rates(int m, std::int64_t keys, int d);
/// GB/s read and written within the device's memory; the best of ten.
double copy_bandwidth();
#else
// A build without device kernels has no GPU.
inline Gpu const& gpu() {
  static Gpu const none;
  return none;
}
inline void choose_gpu(int) {}
inline std::size_t memory_held() { return 0; }
inline std::size_t most_memory() { return 0; }
inline std::size_t most_memory_ever() { return 0; }
inline void reset_most_memory() {}
inline GpuRates product_rates(int, std::int64_t, int) { return {}; }
inline double copy_bandwidth() { return 0.0; }
#endif

#ifdef ASYMPTOP_DEVICE
/// Memory of the device. Throws std::runtime_error where there is not enough.
class Memory {
 public:
  Memory() = default;
  explicit Memory(std::size_t bytes);
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Memory();
  std::size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void swap(Memory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Memory of the host that the device reaches fast; what it held is undefined. Blocks are kept and used again.
class HostMemory {
 public:
  explicit HostMemory(std::size_t bytes);
  HostMemory(HostMemory const&) = delete;
  HostMemory& operator=(HostMemory const&) = delete;
  ~HostMemory();
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// A place in the order of a stream's work.
class Mark {
 public:
  Mark();
  Mark(Mark const&) = delete;
  Mark& operator=(Mark const&) = delete;
  ~Mark();
  /// After all that the stream has been given so far.
  void set(Stream stream);
  bool reached() const;

 private:
  CUevent_st* event_ = nullptr;
};

/// A stream beside the default one, whose work overlaps with that.
class SideStream {
 public:
  SideStream();
  SideStream(SideStream const&) = delete;
  SideStream& operator=(SideStream const&) = delete;
  ~SideStream();
  Stream get() const { return stream_; }
  /// What it is given from now on begins after what the default stream has been given so far.
  void follow();
  /// What the default stream is given from now on begins after what this one has been given so far.
  void lead();

 private:
  Stream stream_ = nullptr;
  CUevent_st* event_ = nullptr;
};

/// Copies to the device; `from` may change once it returns.
void upload(Stream stream, void* to, void const* from, std::size_t bytes);
/// Copies from the device and waits.
void download(Stream stream, void* to, void const* from, std::size_t bytes);
/// Copies to host memory that the device reaches fast, without waiting.
void begin_download(Stream stream, HostMemory const& to, void const* from, std::size_t bytes);
void set_zero(Stream stream, void* memory, std::size_t bytes);
/// Room for so many bytes; what was there is lost where there was not enough.
void make_room(Memory& memory, std::size_t bytes);
void wait(Stream stream);

/// Values of the host in device memory; null for none.
template <class T>
Memory copied(T const* values, std::size_t count) {
  Memory memory(count * sizeof(T));
  if (count > 0) upload(nullptr, memory.as<void>(), values, memory.bytes());
  return memory;
}
template <class T>
Memory copied(std::vector<T> const& values) {
  return copied(values.data(), values.size());
}
#endif

/// Keys and values in device memory.
class KeyCopy {
 public:
#ifdef ASYMPTOP_DEVICE
  /// Copies `count` packed keys of d columns, whole groups; memory of an earlier load is kept where it is enough.
  void load(float const* packed, std::int64_t count, int d);
  /// Makes normal ones there.
  void make(NormalArguments const& keys);
  /// Makes of them what a screen wants, unless it is there.
  void make_screen();
  /// The values of the same keys, (count, d).
  void load_values(float const* values);
  void make_values(NormalArguments const& values);
  /// Makes of both what attention wants, unless it is there.
  void make_split(Numbers numbers);
  /// Takes `count` packed keys of d columns and their values where they lie in device memory; they must stay there while they are used.
  void refer(float const* packed, float const* values, std::int64_t count, int d);
  /// Memory of the host that is loaded from again and again, and outlives this: it is held in place, so that copies are fast.
  void hold(void const* memory, std::size_t bytes);
  KeyCopy() = default;
  KeyCopy(KeyCopy&&) noexcept = default;
  ~KeyCopy();
#else
  void load(float const*, std::int64_t, int) {}
  void make(NormalArguments const&) {}
  void make_values(NormalArguments const&) {}
  void hold(void const*, std::size_t) {}
  void make_screen() {}
  void make_split(Numbers) {}
  void load_values(float const*) {}
#endif
  KeysOnDevice const& keys() const { return keys_; }

 private:
  KeysOnDevice keys_{};
#ifdef ASYMPTOP_DEVICE
  void place(std::int64_t count, int d);
  std::vector<void const*> held_;
  Memory packed_, values_, rows_, tiles_, bounds_, sample_tiles_, sample_bounds_, split_keys_, split_values_, split_scales_;
#endif
};

}  // namespace asymptop::device
