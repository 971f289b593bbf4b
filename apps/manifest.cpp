#include "apps/manifest.h"

#include <bit>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "data/file.h"
#include "data/json.h"
#include "tensor/error.h"

namespace r1::apps {
namespace fs = std::filesystem;
namespace {

constexpr const char* kName = "trainer/manifest.json";

struct FileSum {
  std::uint64_t bytes = 0;
  std::string hash;  // 16 hexadecimal digits

  bool operator==(const FileSum&) const = default;
};

FileSum sum_of(const std::string& path) {
  if (fs::file_size(path) == 0) return {0, fmt::format("{:016x}", xxh64({}))};
  const MappedFile file(path);  // refuses what is empty
  return {file.bytes().size(), fmt::format("{:016x}", xxh64(file.bytes()))};
}

std::uint64_t load64(const std::byte* p) {
  std::uint64_t x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
std::uint32_t load32(const std::byte* p) {
  std::uint32_t x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u, kPrime2 = 0xC2B2AE3D27D4EB4Fu,
                        kPrime3 = 0x165667B19E3779F9u, kPrime4 = 0x85EBCA77C2B2AE63u,
                        kPrime5 = 0x27D4EB2F165667C5u;

std::uint64_t round_of(std::uint64_t lane, std::uint64_t input) {
  return std::rotl(lane + input * kPrime2, 31) * kPrime1;
}

}  // namespace

std::uint64_t xxh64(std::span<const std::byte> bytes) {
  static_assert(std::endian::native == std::endian::little);
  const std::byte* p = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t hash = kPrime5;
  if (left >= 32) {
    std::uint64_t lanes[4] = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
    for (; left >= 32; p += 32, left -= 32)
      for (int i = 0; i < 4; ++i) lanes[i] = round_of(lanes[i], load64(p + 8 * i));
    hash = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) +
           std::rotl(lanes[3], 18);
    for (const std::uint64_t lane : lanes) hash = (hash ^ round_of(0, lane)) * kPrime1 + kPrime4;
  }
  hash += bytes.size();
  for (; left >= 8; p += 8, left -= 8)
    hash = std::rotl(hash ^ round_of(0, load64(p)), 27) * kPrime1 + kPrime4;
  if (left >= 4) {
    hash = std::rotl(hash ^ (load32(p) * kPrime1), 23) * kPrime2 + kPrime3;
    p += 4, left -= 4;
  }
  for (; left > 0; ++p, --left)
    hash = std::rotl(hash ^ (std::to_integer<std::uint64_t>(*p) * kPrime5), 11) * kPrime1;
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

void write_manifest(const std::string& folder) {
  json::Value files = json::Value::object();
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const FileSum sum = sum_of(entry.path().string());
    files[fs::relative(entry.path(), folder).generic_string()] = {{"bytes", sum.bytes},
                                                                  {"xxh64", sum.hash}};
  }
  const json::Value manifest = {{"files", files}};
  write_file_atomically(folder + "/" + kName, json::dump(manifest, kName) + "\n");
}

void check_manifest(const std::string& folder) {
  const std::string path = folder + "/" + kName;
  const json::Value manifest = json::read_file(path);
  const json::Value* files = json::find(manifest, "files", path);
  R1_CHECK(files != nullptr && files->is_object() && !files->empty(), "{}: lists no files", path);
  const auto each = [&](auto&& f) {
    for (const auto& [name, entry] : files->items()) {
      const fs::path relative(name);
      // A manifest speaks of its own folder only.
      for (const fs::path& part : relative)
        R1_CHECK(part != ".." && !relative.is_absolute(), "{}: names a file outside its folder",
                 path);
      const auto bytes = json::get_int(entry, "bytes", path, 0);
      f(folder + "/" + name,
        FileSum{static_cast<std::uint64_t>(bytes), json::get_string(entry, "xxh64", path)});
    }
  };
  // All sizes first: that is quick and finds most damage.
  each([&](const std::string& name, const FileSum& sum) {
    std::error_code error;
    const std::uint64_t size = fs::file_size(name, error);
    R1_CHECK(!error, "{}: {}", name, error.message());
    R1_CHECK(size == sum.bytes, "{}: has {} bytes, was written with {}", name, size, sum.bytes);
  });
  each([&](const std::string& name, const FileSum& sum) {
    R1_CHECK(sum_of(name) == sum, "{}: its contents have changed since it was written", name);
  });
}

}  // namespace r1::apps
