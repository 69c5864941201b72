// The linker's names of programs, from their notes: of this one in memory, of those that lie beside it in their files.
#include <elf.h>
#include <link.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <vector>

#include "results/cpu_level.hpp"
#include "results/provenance.hpp"

namespace asymptop {
namespace {
namespace fs = std::filesystem;

std::string id_in_notes(char const* note, std::size_t size) {
  std::string id;
  for (auto const* const end = note + size; note + sizeof(ElfW(Nhdr)) <= end;) {
    ElfW(Nhdr) head;
    std::memcpy(&head, note, sizeof head);
    auto const* content = note + sizeof head + (head.n_namesz + 3u) / 4u * 4u;
    auto const* const next = content + (head.n_descsz + 3u) / 4u * 4u;
    if (next > end) break;
    for (ElfW(Word) byte = 0; head.n_type == NT_GNU_BUILD_ID && byte < head.n_descsz; ++byte) {
      char text[3];
      unsigned char const value = content[byte];
      std::snprintf(text, sizeof text, "%02x", value);
      id += text;
    }
    note = next;
  }
  return id;
}

std::string own_id() {
  auto const visit = [](dl_phdr_info* object, std::size_t, void* data) {
    for (int i = 0; i < object->dlpi_phnum; ++i) {
      auto const& header = object->dlpi_phdr[i];
      if (header.p_type != PT_NOTE) continue;
      *static_cast<std::string*>(data) += id_in_notes(reinterpret_cast<char const*>(object->dlpi_addr + header.p_vaddr), header.p_memsz);
    }
    return 1;  // the program is the first object, libraries follow
  };
  std::string id;
  dl_iterate_phdr(visit, &id);
  return id.empty() ? "unknown" : id;
}

/// Empty where the file is no program that has one.
std::string id_of_file(fs::path const& path) {
  std::ifstream file(path, std::ios::binary);
  auto const read = [&](std::streamoff at, void* to, std::streamsize size) {
    file.seekg(at);
    file.read(static_cast<char*>(to), size);
    return file.good();
  };
  std::string id;
  ElfW(Ehdr) head{};
  if (!read(0, &head, sizeof head) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) return id;
  for (int i = 0; i < head.e_phnum; ++i) {
    ElfW(Phdr) part{};
    if (!read(head.e_phoff + sizeof part * i, &part, sizeof part)) return "";
    if (part.p_type != PT_NOTE) continue;
    std::vector<char> notes(part.p_filesz);
    if (!read(part.p_offset, notes.data(), notes.size())) return "";
    id += id_in_notes(notes.data(), notes.size());
  }
  return id;
}

}  // namespace

char const* cpu_level() {
#if defined(ASYMPTOP_CPU_LEVEL)
  return ASYMPTOP_CPU_LEVEL;
#else
  return "";
#endif
}

std::string build_id() {
  std::string const level = cpu_level();
  if (level.empty()) return own_id();
  // LEVEL/asymptop, and the others beside it: every level of a build says the same.
  std::error_code error;
  auto const own = fs::read_symlink("/proc/self/exe", error);
  std::map<std::string, std::string> ids;
  for (auto const& beside : fs::directory_iterator(own.parent_path().parent_path(), error)) {
    auto const id = id_of_file(beside.path() / own.filename());
    if (!id.empty()) ids[beside.path().filename()] = id;
  }
  ids[level] = own_id();
  std::string all;
  for (auto const& [name, id] : ids) all.append(all.empty() ? "" : ", ").append(name).append(" ").append(id);
  return all;
}

}  // namespace asymptop
