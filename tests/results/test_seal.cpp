// Damage of a sealed file, at every byte, every length: always found, or harmless.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "config/errors.hpp"
#include "h5/h5.hpp"
#include "results/seal.hpp"
#include "support/random.hpp"

namespace asymptop {
namespace {

namespace fs = std::filesystem;

std::string bytes_of(std::string const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class SealTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("asymptop-seal-" + std::to_string(getpid()));
    fs::create_directories(folder_);
    path_ = (folder_ / "sealed.h5").string();
    std::vector<double> values(300);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1.0 / static_cast<double>(i + 1);
    {
      auto const file = h5::create_file(path_);
      h5::write_attribute(file, "kind", std::string("study"));
      auto const group = h5::create_group(file, "case");
      h5::write_scale(group, "draw", values, "1", "draw");
      h5::write_dataset(group, "tail_mass", {{"draw", values.size()}}, values, "1", "tail mass");
    }
    unsealed_ = bytes_of(path_);
    seal_file(path_);
    sealed_ = bytes_of(path_);
    h5::silence();
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string spoilt(std::string const& bytes) {
    auto const path = (folder_ / "spoilt.h5").string();
    fs::remove(path);  // a file that is cut to nothing and filled again is synced by some file systems
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  /// Whether the file is refused before HDF5 looks into it, or HDF5 refuses it, or it holds what was written.
  void check_found_or_harmless(std::string const& bytes, std::string const& what) {
    auto const path = spoilt(bytes);
    if (check_seal(path) == Seal::broken) return;
    std::vector<double> read;
    try {
      auto const file = h5::open_file(path);
      read = h5::read_dataset(h5::open_group(file, "case"), "tail_mass").numbers;
    } catch (RunError const&) {
      return;
    }
    ASSERT_EQ(read.size(), 300u) << what;
    for (std::size_t i = 0; i < read.size(); ++i) ASSERT_EQ(read[i], 1.0 / static_cast<double>(i + 1)) << what;
  }

  fs::path folder_;
  std::string path_, unsealed_, sealed_;
};

TEST_F(SealTest, tells_whole_from_unsealed) {
  EXPECT_EQ(sealed_.size(), unsealed_.size() + 80);
  EXPECT_EQ(check_seal(path_), Seal::whole);
  EXPECT_EQ(check_seal(spoilt(unsealed_)), Seal::none);
  EXPECT_EQ(check_seal(spoilt("")), Seal::none);
  EXPECT_EQ(check_seal(spoilt("short")), Seal::none);
  EXPECT_THROW(check_seal((folder_ / "none.h5").string()), RunError);
  EXPECT_EQ(h5::read_text_attribute(open_sealed(path_), "kind"), "study");
}

TEST_F(SealTest, finds_a_flipped_bit_at_every_byte) {
  test::Random random(7);
  for (std::size_t at = 0; at < sealed_.size(); ++at) {
    auto bytes = sealed_;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.bits() % 8));
    EXPECT_EQ(check_seal(spoilt(bytes)), Seal::broken) << "byte " << at;
  }
}

TEST_F(SealTest, finds_every_cut) {
  for (std::size_t length = 0; length<sealed_.size(); length += length> sealed_.size() - 100 ? 1 : 7)
    check_found_or_harmless(sealed_.substr(0, length), "cut to " + std::to_string(length));
}

TEST_F(SealTest, finds_lost_and_foreign_bytes) {
  test::Random random(7);
  for (int i = 0; i < 500; ++i) {
    auto bytes = sealed_;
    auto const at = random.bits() % bytes.size(), length = std::min<std::size_t>(1 + random.bits() % 5000, bytes.size() - at);
    for (std::size_t j = 0; j < length; ++j) bytes[at + j] = i % 2 == 0 ? '\0' : static_cast<char>(random.bits());
    check_found_or_harmless(bytes, std::to_string(length) + " bytes from " + std::to_string(at));
  }
  for (std::size_t zeros : {1, 79, 80, 512, 1500})  // the file's last block never reached the disk
    EXPECT_EQ(check_seal(spoilt(sealed_.substr(0, sealed_.size() - zeros) + std::string(zeros, '\0'))), Seal::broken);
  EXPECT_EQ(check_seal(spoilt(sealed_ + "more")), Seal::broken);
}

}  // namespace
}  // namespace asymptop
