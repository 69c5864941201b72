// Allocation and copies, counted.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "common.cuh"
#include "memory.hpp"
#include "scores.hpp"

namespace asymptop::device {
namespace {

std::atomic<std::size_t> held{0}, most{0}, most_before{0};  // before the last reset

int chosen = 0;

Gpu find_gpu() {
  Gpu found;
  cudaDeviceProp properties{};
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0 || cudaSetDevice(chosen % count) != cudaSuccess ||
      cudaGetDeviceProperties(&properties, chosen % count) != cudaSuccess) {
    cudaGetLastError();  // none is no error
    return found;
  }
  char bus[32] = {};
  if (cudaDeviceGetPCIBusId(bus, sizeof bus, chosen % count) == cudaSuccess) found.bus = bus;
  std::memcpy(&found.id, properties.uuid.bytes, sizeof found.id);
  found.name = properties.name;
  found.usable = properties.major == 9;
  found.multiprocessors = properties.multiProcessorCount;
  std::size_t free = 0, all = 0;
  if (found.usable && cudaMemGetInfo(&free, &all) == cudaSuccess) found.memory_bytes = free;
  return found;
}

/// Blocks of the host's memory that nobody uses, by their size: to lock pages in memory and to let them go takes milliseconds, as long as
/// a small draw, and every batch of rows wants some. Never freed at the end: the driver may be gone by then.
class SpareBlocks {
 public:
  void* take(std::size_t bytes) {
    std::lock_guard const lock(mutex_);
    auto& blocks = of_size_[bytes];
    if (blocks.empty()) return nullptr;
    void* const block = blocks.back();
    blocks.pop_back();
    kept_ -= bytes;
    return block;
  }
  /// False where enough are kept.
  bool keep(void* block, std::size_t bytes) {
    std::lock_guard const lock(mutex_);
    if (kept_ + bytes > most_kept) return false;
    of_size_[bytes].push_back(block);
    kept_ += bytes;
    return true;
  }

 private:
  static constexpr std::size_t most_kept = std::size_t{64} << 20;
  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> of_size_;
  std::size_t kept_ = 0;
};
SpareBlocks& spare_blocks() {
  static auto* const blocks = new SpareBlocks;
  return *blocks;
}
/// A power of two, so that blocks fit many wishes.
std::size_t block_size(std::size_t bytes) {
  std::size_t size = 4096;
  while (size < bytes) size *= 2;
  return size;
}

}  // namespace

void choose_gpu(int place) { chosen = place; }

Gpu const& gpu() {
  static Gpu const found = find_gpu();
  return found;
}

std::size_t memory_held() { return held; }
std::size_t most_memory() { return most; }
std::size_t most_memory_ever() { return std::max(most.load(), most_before.load()); }
void reset_most_memory() {
  most_before = most_memory_ever();
  most = held.load();
}

Memory::Memory(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  // Of a pool that keeps what is freed: passes come and go, and all their work is on one stream.
  static bool const kept = [] {
    cudaMemPool_t pool = nullptr;
    int device = 0;
    check(cudaGetDevice(&device), "memory");
    std::uint64_t all = ~std::uint64_t{0};
    check(cudaDeviceGetDefaultMemPool(&pool, device), "memory");
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all), "memory");
    return true;
  }();
  static_cast<void>(kept);
  check(cudaMallocAsync(&data_, bytes, nullptr), "memory");
  held += bytes;
  most = std::max(most.load(), held.load());
}

Memory::~Memory() {
  if (data_ == nullptr) return;
  cudaFreeAsync(data_, nullptr);
  held -= bytes_;
}

HostMemory::HostMemory(std::size_t bytes) : bytes_(block_size(bytes)) {
  data_ = spare_blocks().take(bytes_);
  if (data_ == nullptr) check(cudaMallocHost(&data_, bytes_), "memory of the host");
}
HostMemory::~HostMemory() {
  if (!spare_blocks().keep(data_, bytes_)) cudaFreeHost(data_);
}

Mark::Mark() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event"); }
Mark::~Mark() { cudaEventDestroy(event_); }
void Mark::set(Stream stream) { check(cudaEventRecord(event_, stream), "event"); }
bool Mark::reached() const {
  auto const state = cudaEventQuery(event_);
  if (state != cudaErrorNotReady) check(state, "work on the device");
  return state == cudaSuccess;
}

SideStream::SideStream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event");
}
SideStream::~SideStream() {
  cudaEventDestroy(event_);
  cudaStreamDestroy(stream_);
}
void SideStream::follow() {
  check(cudaEventRecord(event_, nullptr), "event");
  check(cudaStreamWaitEvent(stream_, event_, 0), "order of streams");
}
void SideStream::lead() {
  check(cudaEventRecord(event_, stream_), "event");
  check(cudaStreamWaitEvent(nullptr, event_, 0), "order of streams");
}

void upload(Stream stream, void* to, void const* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copy to the device");
  wait(stream);
}

void download(Stream stream, void* to, void const* from, std::size_t bytes) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "copy from the device");
  wait(stream);
}

void begin_download(Stream stream, HostMemory const& to, void const* from, std::size_t bytes) {
  if (bytes > 0) check(cudaMemcpyAsync(to.as<void>(), from, bytes, cudaMemcpyDeviceToHost, stream), "copy from the device");
}

void set_zero(Stream stream, void* memory, std::size_t bytes) {
  if (bytes > 0) check(cudaMemsetAsync(memory, 0, bytes, stream), "zeros");
}

void wait(Stream stream) { check(cudaStreamSynchronize(stream), "work on the device"); }

void make_room(Memory& memory, std::size_t bytes) {
  if (memory.bytes() >= bytes) return;
  memory = Memory();
  memory = Memory(bytes);
}

KeyCopy::~KeyCopy() {
  for (auto const* memory : held_) cudaHostUnregister(const_cast<void*>(memory));
}

void KeyCopy::hold(void const* memory, std::size_t bytes) {
  if (bytes == 0 || std::find(held_.begin(), held_.end(), memory) != held_.end()) return;
  if (cudaHostRegister(const_cast<void*>(memory), bytes, cudaHostRegisterDefault) == cudaSuccess) {
    held_.push_back(memory);
  } else {
    cudaGetLastError();  // a refusal costs speed only
  }
}

void KeyCopy::place(std::int64_t count, int d) {
  std::size_t const whole = (count + 31) / 32 * 32;
  make_room(packed_, whole * d * sizeof(float));
  keys_ = {};
  keys_.packed = packed_.as<float>();
  keys_.screen.count = count;
  keys_.screen.d = d;
}

void KeyCopy::refer(float const* packed, float const* values, std::int64_t count, int d) {
  keys_ = {};
  keys_.packed = packed;
  keys_.screen.count = count;
  keys_.screen.d = d;
  keys_.values = values;
}

void KeyCopy::load(float const* packed, std::int64_t count, int d) {
  place(count, d);
  upload(nullptr, packed_.as<float>(), packed, ((count + 31) / 32 * 32 * d) * sizeof(float));
}

void KeyCopy::make(NormalArguments const& keys) {
  place(keys.count, keys.d);
  make_packed_normals(nullptr, keys, packed_.as<float>());
}

void KeyCopy::make_values(NormalArguments const& values) {
  make_room(values_, (values.count * values.d) * sizeof(float));
  make_normal_rows(nullptr, values, values_.as<float>());
  keys_.values = values_.as<float>();
  keys_.split = {};
}

void KeyCopy::make_split(Numbers numbers) {
  auto& split = keys_.split;
  if (split.keys != nullptr && split.numbers == numbers) return;
  split.numbers = numbers;
  split.count = keys_.screen.count;
  split.d = keys_.screen.d;
  std::size_t const tiles = tiles_of(split.count);
  make_room(split_keys_, split_key_bytes(numbers, split.count, split.d));
  make_room(split_values_, split_value_bytes(numbers, split.count, split.d));
  make_room(split_scales_, 2 * tiles * sizeof(float));
  split.keys = split_keys_.as<unsigned char>();
  split.values = split_values_.as<unsigned char>();
  split.key_scales = split_scales_.as<float>();
  split.value_scales = split.key_scales + tiles;
  split_tensors(nullptr, keys_.packed, keys_.values, split);
}

void KeyCopy::make_screen() {
  auto& keys = keys_.screen;
  if (keys.rows != nullptr) return;
  auto const sample = sample_of(keys.count);
  make_room(rows_, std::int64_t{keys.count} * keys.d * sizeof(float));
  make_room(tiles_, keys.tiles_bytes(keys.count));
  make_room(bounds_, tiles_of(keys.count) * sizeof(TileBound));
  make_room(sample_tiles_, keys.tiles_bytes(sample));
  make_room(sample_bounds_, tiles_of(sample) * sizeof(TileBound));
  unpack_keys(nullptr, keys_.packed, keys.count, keys.d, rows_.as<float>());
  keys.rows = rows_.as<float>();
  keys.tiles = tiles_.as<unsigned char>();
  keys.bounds = bounds_.as<TileBound>();
  keys.sample_tiles = sample_tiles_.as<unsigned char>();
  keys.sample_bounds = sample_bounds_.as<TileBound>();
  make_screen_keys(nullptr, keys);
}

void KeyCopy::load_values(float const* values) {
  auto const bytes = std::int64_t{keys_.screen.count} * keys_.screen.d * sizeof(float);
  make_room(values_, bytes);
  upload(nullptr, values_.as<float>(), values, bytes);
  keys_.values = values_.as<float>();
  keys_.split = {};
}

}  // namespace asymptop::device
