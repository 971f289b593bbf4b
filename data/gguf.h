// GGUF files, versions 2 and 3 (github.com/ggml-org/ggml: docs/gguf.md): metadata and tensors of
// llama.cpp. The reader trusts nothing: every read is bounds-checked, every count is compared with
// the bytes that are left before anything is allocated. Refused, as by ggml or by the format text:
// nested arrays, duplicate keys or tensor names, more than 4 dimensions, rows that are no whole
// number of blocks, data that is unaligned, overlapping, with holes or cut short.
// Bytes after the last tensor are ignored, as ggml does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/file.h"
#include "tensor/shape.h"

namespace r1 {

// Tensor types that can be read; values as in files. Quantised ones are made of blocks.
enum class GgmlType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  bf16 = 30
};
const char* name_of(GgmlType type);          // "Q4_K"
std::int64_t block_elements(GgmlType type);  // 1, 32 or 256
std::int64_t block_bytes(GgmlType type);

struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::f32;
  Shape shape;  // Hugging Face order: rows first, the reverse of the file's
  std::span<const std::byte> bytes;
};

enum class GgufValueType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

// Numbers or booleans of one type, as they lie in the file (unaligned, little-endian).
struct GgufNumbers {
  GgufValueType type = GgufValueType::u8;
  std::uint64_t count = 0;
  std::span<const std::byte> bytes;
};

// Strings as they lie in the file: u64 length and bytes, one after the other.
struct GgufStrings {
  std::uint64_t count = 0;
  std::span<const std::byte> bytes;
};

// A string is a view into the file.
using GgufValue = std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view,
                               GgufNumbers, GgufStrings>;

struct GgufEntry {
  std::string key;
  GgufValueType type = GgufValueType::u8;
  GgufValue value;
};

class GgufFile {
 public:
  // Maps the file; everything points into the mapping, which lives as long as any copy of this.
  static GgufFile open(const std::string& path);
  // The same on bytes in memory, which must outlive the result.
  static GgufFile parse(std::span<const std::byte> bytes, std::string where);

  const std::string& where() const { return where_; }
  int version() const { return version_; }
  const std::vector<GgufEntry>& metadata() const { return metadata_; }  // in the order of the file
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find(std::string_view name) const;  // nullptr when absent
  const GgufTensor& at(std::string_view name) const;    // throws Error when absent

  // Metadata by key. Throws Error that names the file and the key when it is absent, of another
  // type or out of range. Integers of every width are integers; numbers also take integers.
  bool has(std::string_view key) const { return entry(key) != nullptr; }
  std::int64_t get_int(std::string_view key, std::int64_t min, std::int64_t max) const;
  double get_number(std::string_view key) const;
  bool get_bool(std::string_view key) const;
  std::string get_string(std::string_view key) const;  // valid UTF-8
  std::vector<std::int64_t> get_ints(std::string_view key) const;
  std::vector<double> get_numbers(std::string_view key) const;
  std::vector<std::string_view> get_strings(std::string_view key) const;  // raw bytes

  // The same with a value for an absent key.
  std::int64_t get_int_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                          std::int64_t max) const;
  double get_number_or(std::string_view key, double fallback) const;
  bool get_bool_or(std::string_view key, bool fallback) const;
  std::string get_string_or(std::string_view key, std::string_view fallback) const;

  const GgufEntry* entry(std::string_view key) const;  // nullptr when absent

 private:
  const GgufEntry& require(std::string_view key) const;

  std::string where_;
  std::shared_ptr<const MappedFile> file_;
  int version_ = 0;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::size_t> keys_sorted_;   // indices of metadata_, by key
  std::vector<std::size_t> names_sorted_;  // indices of tensors_, by name
};

}  // namespace r1
