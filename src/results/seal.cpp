#include "results/seal.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "config/errors.hpp"

namespace asymptop {
namespace {

constexpr char const* mark = "asymptop sha256 ";
constexpr std::size_t mark_size = 16, digest_size = 32, seal_size = mark_size + 2 * digest_size;

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

[[noreturn]] void fail(std::string const& action, std::string const& path) {
  throw RunError("cannot " + action + " " + path + ": " + std::strerror(errno));
}

File open(std::string const& path, char const* mode) {
  File file(std::fopen(path.c_str(), mode), std::fclose);
  if (file == nullptr) fail("open", path);
  return file;
}

/// The seal of the next `size` bytes of the file.
std::string seal_of(std::FILE* file, std::uint64_t size, std::string const& path) {
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> const context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) throw RunError("cannot compute a SHA-256");
  std::vector<unsigned char> piece(std::size_t{1} << 20);
  while (size > 0) {
    std::size_t const wanted = std::min<std::uint64_t>(size, piece.size());
    if (std::fread(piece.data(), 1, wanted, file) != wanted) fail("read", path);
    EVP_DigestUpdate(context.get(), piece.data(), wanted);
    size -= wanted;
  }
  std::array<unsigned char, digest_size> digest{};
  EVP_DigestFinal_ex(context.get(), digest.data(), nullptr);
  std::string seal = mark;
  for (auto const byte : digest) {
    char text[3];
    std::snprintf(text, sizeof text, "%02x", byte);
    seal += text;
  }
  return seal;
}

std::uint64_t size_of(std::FILE* file, std::string const& path) {
  if (std::fseek(file, 0, SEEK_END) != 0) fail("read", path);
  auto const size = std::ftell(file);
  if (size < 0 || std::fseek(file, 0, SEEK_SET) != 0) fail("read", path);
  return size;
}

/// Where HDF5's own bytes end, as the superblock (version 2, as all files of this program have) says; 0 for another version.
std::uint64_t end_of_hdf5(std::FILE* file) {
  constexpr std::size_t end_at = 28, head_size = end_at + 8;
  std::array<unsigned char, head_size> head{};
  bool const read = std::fread(head.data(), 1, head.size(), file) == head.size();
  std::rewind(file);
  if (!read || std::memcmp(head.data(), "\x89HDF\r\n\x1a\n", 8) != 0 || (head[8] != 2 && head[8] != 3)) return 0;
  std::uint64_t end = 0;
  for (std::size_t i = 8; i-- > 0;) end = end << 8 | head[end_at + i];
  return end;
}

}  // namespace

void seal_file(std::string const& path) {
  auto const file = open(path, "rb");
  auto const seal = seal_of(file.get(), size_of(file.get(), path), path);
  int const end = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (end < 0) fail("open", path);
  errno = ENOSPC;  // of a write that is cut short
  bool const written = write(end, seal.data(), seal.size()) == std::ssize(seal);
  int const why = errno;
  bool const closed = close(end) == 0;
  if (!written) errno = why;
  if (!written || !closed) fail("write", path);
}

Seal check_seal(std::string const& path) {
  auto const file = open(path, "rb");
  auto const size = size_of(file.get(), path), end = end_of_hdf5(file.get());
  if (size < seal_size) return Seal::none;
  auto const expected = seal_of(file.get(), size - seal_size, path);
  std::string found(seal_size, '\0');
  if (std::fread(found.data(), 1, seal_size, file.get()) != seal_size) fail("read", path);
  if (found == expected) return Seal::whole;
  bool const marked = found.compare(0, mark_size, mark) == 0;
  return marked || (end != 0 && size > end) ? Seal::broken : Seal::none;
}

h5::Handle open_sealed(std::string const& path) {
  if (check_seal(path) == Seal::broken) throw RunError(path + " is damaged: its bytes are not those of its checksum");
  return h5::open_file(path);
}

}  // namespace asymptop
