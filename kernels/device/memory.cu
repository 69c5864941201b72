// Allocation and copies, counted.
#include <algorithm>
#include <atomic>

#include "common.cuh"
#include "memory.hpp"

namespace asymptop::device {
namespace {

std::atomic<std::size_t> held{0}, most{0};

Gpu find_gpu() {
  Gpu found;
  cudaDeviceProp properties{};
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0 || cudaGetDeviceProperties(&properties, 0) != cudaSuccess) {
    cudaGetLastError();  // none is no error
    return found;
  }
  found.name = properties.name;
  found.usable = properties.major == 9;
  found.multiprocessors = properties.multiProcessorCount;
  std::size_t free = 0, all = 0;
  if (found.usable && cudaMemGetInfo(&free, &all) == cudaSuccess) found.memory_bytes = static_cast<double>(free);
  return found;
}

}  // namespace

Gpu const& gpu() {
  static Gpu const found = find_gpu();
  return found;
}

std::size_t memory_held() { return held; }
std::size_t most_memory() { return most; }
void reset_most_memory() { most = held.load(); }

Memory::Memory(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  check(cudaMalloc(&data_, bytes), "memory");
  held += bytes;
  most = std::max(most.load(), held.load());
}

Memory::~Memory() {
  if (data_ == nullptr) return;
  cudaFree(data_);
  held -= bytes_;
}

HostMemory::HostMemory(std::size_t bytes) { check(cudaMallocHost(&data_, std::max<std::size_t>(bytes, 1)), "memory of the host"); }
HostMemory::~HostMemory() { cudaFreeHost(data_); }

void upload(Stream stream, void* to, void const* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copy to the device");
  wait(stream);
}

void download(Stream stream, void* to, void const* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "copy from the device");
  wait(stream);
}

void set_zero(Stream stream, void* memory, std::size_t bytes) { check(cudaMemsetAsync(memory, 0, bytes, stream), "zeros"); }

void wait(Stream stream) { check(cudaStreamSynchronize(stream), "work on the device"); }

void KeyCopy::load(float const* rows, std::int64_t count, int d) {
  auto const room = [](Memory& memory, std::size_t bytes) {
    if (memory.bytes() >= bytes) return;
    memory = Memory();
    memory = Memory(bytes);
  };
  keys_.count = count;
  keys_.d = d;
  auto const sample = sample_of(count);
  auto const bytes = static_cast<std::size_t>(count) * static_cast<std::size_t>(d) * sizeof(float);
  room(rows_, bytes);
  room(tiles_, keys_.tiles_bytes(count));
  room(bounds_, static_cast<std::size_t>(tiles_of(count)) * sizeof(TileBound));
  room(sample_tiles_, keys_.tiles_bytes(sample));
  room(sample_bounds_, static_cast<std::size_t>(tiles_of(sample)) * sizeof(TileBound));
  keys_.rows = rows_.as<float>();
  keys_.tiles = tiles_.as<unsigned char>();
  keys_.bounds = bounds_.as<TileBound>();
  keys_.sample_tiles = sample_tiles_.as<unsigned char>();
  keys_.sample_bounds = sample_bounds_.as<TileBound>();
  upload(nullptr, rows_.as<float>(), rows, bytes);
  make_screen_keys(nullptr, keys_);
  wait(nullptr);
}

}  // namespace asymptop::device
