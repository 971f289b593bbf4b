// safetensors files (github.com/huggingface/safetensors): u64 header length, JSON header, buffer.
// The reader maps the file and refuses everything the format forbids: unknown dtypes, shapes whose
// product overflows, offsets that leave a hole, overlap or do not end at the last byte, duplicate
// names. The writer gives the same bytes as the reference writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/file.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"
#include "tensor/tensor.h"

namespace r1 {

// Element types in files, in the order by which the reference writer sorts (falling).
enum class FileDType : std::uint8_t {
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  f64,
  i64,
  u64
};
std::size_t size_of(FileDType dtype);
const char* name_of(FileDType dtype);  // "F32", as in the header
FileDType file_dtype(DType dtype);

// One tensor in a file or in memory: its bytes (row-major, little-endian) belong to someone else.
struct TensorEntry {
  std::string name;
  FileDType dtype = FileDType::f32;
  std::vector<std::uint64_t> dims;
  std::span<const std::byte> bytes;

  std::uint64_t numel() const;
  Shape shape() const;      // throws Error when the rank is above 4
  std::string str() const;  // "F32 (3, 4)"
};

// The tensor's numbers, not copied: `t` must outlive the entry. CPU tensors only.
TensorEntry entry_of(std::string name, const Tensor& t);

// Converts to the dtype of `out`, which has as many elements; whether the shapes agree is for the
// caller to judge. f32, f64 and bf16 are made from every file dtype (f64 -> bf16 through f32), i32
// from integers and booleans that fit. `where` names the file in errors.
void read_tensor(const TensorEntry& entry, Tensor& out, std::string_view where);
Tensor read_tensor(const TensorEntry& entry, DType dtype, std::string_view where);

using Metadata = std::vector<std::pair<std::string, std::string>>;  // in the order of the file

class SafetensorsFile {
 public:
  // Maps the file; entries point into the mapping, which lives as long as any copy of this.
  static SafetensorsFile open(const std::string& path);
  // The same on bytes in memory, which must outlive the result.
  static SafetensorsFile parse(std::span<const std::byte> bytes, std::string where);

  const std::string& where() const { return where_; }
  const std::vector<TensorEntry>& entries() const {
    return entries_;
  }  // in the order of the buffer
  const Metadata& metadata() const { return metadata_; }
  const TensorEntry* find(std::string_view name) const;  // nullptr when absent
  const TensorEntry& at(std::string_view name) const;    // throws Error when absent

 private:
  std::string where_;
  std::shared_ptr<const MappedFile> file_;
  std::vector<TensorEntry> entries_;
  Metadata metadata_;
  std::vector<std::size_t> by_name_;  // indices of entries_, sorted by name
};

// All tensors of a model folder: model.safetensors, or the shards that
// model.safetensors.index.json names. A path to one file works too.
class SafetensorsFolder {
 public:
  static SafetensorsFolder open(const std::string& path);

  const std::string& where() const { return where_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }
  const TensorEntry* find(std::string_view name) const;
  const TensorEntry& at(std::string_view name) const;
  std::vector<const TensorEntry*> entries() const;  // file by file
  std::size_t size() const;

 private:
  std::string where_;
  std::vector<SafetensorsFile> files_;
};

inline const Metadata kPyTorchMetadata = {{"format", "pt"}};

// Writes one file: whole or not at all (AtomicFile). Tensors are sorted as the reference writer
// does; empty metadata writes no "__metadata__".
void write_safetensors(const std::string& path, std::vector<TensorEntry> tensors,
                       const Metadata& metadata = kPyTorchMetadata);

// Writes FOLDER/model.safetensors, or, when the tensors need more than max_shard_bytes together,
// shards in the given order and model.safetensors.index.json (written last). The folder exists;
// give one from AtomicFolder to make the set appear at once.
void write_safetensors_folder(const std::string& folder, const std::vector<TensorEntry>& tensors,
                              std::uint64_t max_shard_bytes = std::uint64_t{5} << 30,
                              const Metadata& metadata = kPyTorchMetadata);

}  // namespace r1
