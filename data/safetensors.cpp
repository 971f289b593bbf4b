#include "data/safetensors.h"

#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "data/json.h"
#include "tensor/error.h"

static_assert(std::endian::native == std::endian::little, "the file formats are little-endian");

namespace r1 {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the reference reader's limit
constexpr std::size_t kMaxDims = 64;                    // more than any library can hold

struct DTypeInfo {
  const char* name;
  std::size_t bytes;
};
constexpr DTypeInfo kDTypes[] = {{"BOOL", 1},    {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1},
                                 {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
                                 {"BF16", 2},    {"I32", 4}, {"U32", 4}, {"F32", 4},
                                 {"F64", 8},     {"I64", 8}, {"U64", 8}};

FileDType dtype_from_name(std::string_view name) {
  std::string known;
  for (std::size_t i = 0; i < std::size(kDTypes); ++i) {
    if (name == kDTypes[i].name) return static_cast<FileDType>(i);
    known.append(" ").append(kDTypes[i].name);
  }
  fail("dtype '{}' is not supported; known:{}", json::printable(name, 20), known);
}

bool checked_multiply(std::uint64_t a, std::uint64_t b, std::uint64_t& product) {
  if (a != 0 && b > std::numeric_limits<std::uint64_t>::max() / a) return false;
  product = a * b;
  return true;
}

struct HeaderEntry {
  TensorEntry tensor;
  std::uint64_t begin = 0, end = 0;
};

// Reads the header without building a tree: what it allocates is what the result keeps.
class HeaderReader : public json::Events {
 public:
  std::vector<HeaderEntry> entries;
  Metadata metadata;

  void begin_object() override {
    if (at_ == At::start) {
      at_ = At::top;
    } else if (at_ == At::top && name_ == "__metadata__") {
      R1_CHECK(!has_metadata_, "__metadata__ occurs twice");
      has_metadata_ = true;
      at_ = At::metadata;
    } else if (at_ == At::top) {
      at_ = At::entry;
      entries.emplace_back().tensor.name = std::move(name_);
      has_dtype_ = has_dims_ = has_offsets_ = false;
    } else {
      unexpected("object");
    }
  }
  void key(std::string& name) override { name_ = std::move(name); }
  void end_object() override {
    if (at_ == At::entry) {
      R1_CHECK(has_dtype_ && has_dims_ && has_offsets_,
               "tensor '{}' lacks dtype, shape or data_offsets", tensor_name());
    }
    at_ = At::top;  // after the outermost object nothing follows
  }
  void begin_array() override {
    if (at_ == At::entry && name_ == "shape" && !has_dims_) {
      has_dims_ = true;
      at_ = At::dims;
    } else if (at_ == At::entry && name_ == "data_offsets" && !has_offsets_) {
      has_offsets_ = true;
      offset_count_ = 0;
      at_ = At::offsets;
    } else {
      unexpected("array");
    }
  }
  void end_array() override {
    R1_CHECK(at_ != At::offsets || offset_count_ == 2, "data_offsets of tensor '{}' has {} numbers",
             tensor_name(), offset_count_);
    at_ = At::entry;
  }
  void unsigned_integer(std::uint64_t value) override {
    if (at_ == At::dims) {
      auto& dims = entries.back().tensor.dims;
      R1_CHECK(dims.size() < kMaxDims, "tensor '{}' has more than {} dimensions", tensor_name(),
               kMaxDims);
      dims.push_back(value);
    } else if (at_ == At::offsets) {
      (offset_count_ == 0 ? entries.back().begin : entries.back().end) = value;
      R1_CHECK(++offset_count_ <= 2, "data_offsets of tensor '{}' has more than two numbers",
               tensor_name());
    } else {
      unexpected("number");
    }
  }
  void string(std::string& value) override {
    if (at_ == At::metadata) {
      metadata.emplace_back(std::move(name_), std::move(value));
    } else if (at_ == At::entry && name_ == "dtype" && !has_dtype_) {
      has_dtype_ = true;
      entries.back().tensor.dtype = dtype_from_name(value);
    } else {
      unexpected("string");
    }
  }
  void integer(std::int64_t) override { unexpected("negative number"); }
  void number(double) override { unexpected("number that is not a whole number below 2^64"); }
  void null() override { unexpected("null"); }
  void boolean(bool) override { unexpected("boolean"); }

 private:
  enum class At { start, top, metadata, entry, dims, offsets };

  std::string tensor_name() const { return json::printable(entries.back().tensor.name); }
  [[noreturn]] void unexpected(const char* what) const {
    switch (at_) {
      case At::start:
        fail("the header is a {}, not an object", what);
      case At::top:
        fail("'{}' is a {}, not an object", json::printable(name_), what);
      case At::metadata:
        fail("__metadata__ '{}' is a {}, not a string", json::printable(name_), what);
      case At::entry:
        fail("tensor '{}': {} in field '{}' (fields: dtype, shape, data_offsets, each once)",
             tensor_name(), what, json::printable(name_, 20));
      case At::dims:
        fail("tensor '{}': {} in its shape", tensor_name(), what);
      case At::offsets:
        fail("tensor '{}': {} in its data_offsets", tensor_name(), what);
    }
    fail("unexpected {}", what);
  }

  At at_ = At::start;
  std::string name_;  // the newest key
  bool has_metadata_ = false, has_dtype_ = false, has_dims_ = false, has_offsets_ = false;
  int offset_count_ = 0;
};

// Product of the dimensions and the element size, or nothing when it does not fit 64 bits.
std::optional<std::uint64_t> checked_bytes(const TensorEntry& t) {
  std::uint64_t n = 1;
  for (const std::uint64_t d : t.dims)
    if (!checked_multiply(n, d, n)) return std::nullopt;
  if (!checked_multiply(n, size_of(t.dtype), n)) return std::nullopt;
  return n;
}

// Offsets must tile the buffer: sorted, each tensor begins where the one before ends.
void place_in_buffer(std::vector<HeaderEntry>& entries, std::span<const std::byte> buffer,
                     const std::string& where) {
  std::stable_sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t position = 0;
  for (HeaderEntry& e : entries) {
    const std::string name = json::printable(e.tensor.name);
    R1_CHECK(e.begin <= e.end && e.end <= buffer.size(),
             "{}: tensor '{}': data_offsets [{}, {}] do not lie in a buffer of {} bytes", where,
             name, e.begin, e.end, buffer.size());
    R1_CHECK(e.begin == position,
             "{}: tensor '{}' begins at byte {} of the buffer, expected {}: {}", where, name,
             e.begin, position, e.begin < position ? "an overlap" : "a hole");
    const auto bytes = checked_bytes(e.tensor);
    R1_CHECK(bytes.has_value(), "{}: tensor '{}': the product of its dimensions overflows", where,
             name);
    R1_CHECK(*bytes == e.end - e.begin, "{}: tensor '{}' of {} needs {} bytes but has {}", where,
             name, e.tensor.str(), *bytes, e.end - e.begin);
    e.tensor.bytes = buffer.subspan(e.begin, *bytes);
    position = e.end;
  }
  R1_CHECK(position == buffer.size(), "{}: {} bytes after the last tensor", where,
           buffer.size() - position);
}

}  // namespace

std::size_t size_of(FileDType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].bytes; }
const char* name_of(FileDType dtype) { return kDTypes[static_cast<std::size_t>(dtype)].name; }

FileDType file_dtype(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return FileDType::f32;
    case DType::f64:
      return FileDType::f64;
    case DType::bf16:
      return FileDType::bf16;
    case DType::i32:
      return FileDType::i32;
  }
  return FileDType::f32;
}

std::uint64_t TensorEntry::numel() const { return bytes.size() / size_of(dtype); }

Shape TensorEntry::shape() const {
  R1_CHECK(dims.size() <= Shape::kMaxRank, "tensor '{}' of {}: a rank above {} is not supported",
           json::printable(name), str(), Shape::kMaxRank);
  Shape shape;
  for (const std::uint64_t d : dims) {
    R1_CHECK(d <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()),
             "tensor '{}': dimension {} is too large", json::printable(name), d);
    shape.push_back(static_cast<std::int64_t>(d));
  }
  return shape;
}

std::string TensorEntry::str() const {
  std::string s = std::string(name_of(dtype)) + " (";
  for (std::size_t i = 0; i < dims.size(); ++i) s += (i ? ", " : "") + std::to_string(dims[i]);
  return s + ")";
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  auto file = std::make_shared<const MappedFile>(path);
  SafetensorsFile result = parse(file->bytes(), path);
  result.file_ = std::move(file);
  return result;
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, std::string where) {
  std::uint64_t header_bytes = 0;
  R1_CHECK(bytes.size() >= sizeof(header_bytes), "{}: {} bytes are too few for a safetensors file",
           where, bytes.size());
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  const auto rest = bytes.subspan(sizeof(header_bytes));
  R1_CHECK(header_bytes <= kMaxHeaderBytes && header_bytes <= rest.size(),
           "{}: the header length {} is beyond the file ({} bytes) or the limit ({}): not a "
           "safetensors file, or cut short",
           where, header_bytes, bytes.size(), kMaxHeaderBytes);
  const std::string_view header(reinterpret_cast<const char*>(rest.data()), header_bytes);
  R1_CHECK(header.starts_with('{'), "{}: the header does not begin with '{{'", where);

  HeaderReader reader;
  json::parse_events(header, where, reader, {.max_bytes = kMaxHeaderBytes, .max_depth = 3});
  place_in_buffer(reader.entries, rest.subspan(header_bytes), where);

  SafetensorsFile file;
  file.where_ = std::move(where);
  file.entries_.reserve(reader.entries.size());
  for (HeaderEntry& e : reader.entries) file.entries_.push_back(std::move(e.tensor));
  file.metadata_ = std::move(reader.metadata);

  file.by_name_.resize(file.entries_.size());
  std::iota(file.by_name_.begin(), file.by_name_.end(), std::size_t{0});
  const auto name = [&](std::size_t i) -> const std::string& { return file.entries_[i].name; };
  std::sort(file.by_name_.begin(), file.by_name_.end(),
            [&](std::size_t a, std::size_t b) { return name(a) < name(b); });
  for (std::size_t i = 1; i < file.by_name_.size(); ++i)
    R1_CHECK(name(file.by_name_[i - 1]) != name(file.by_name_[i]), "{}: tensor '{}' occurs twice",
             file.where_, json::printable(name(file.by_name_[i])));
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : file.metadata_) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  R1_CHECK(std::adjacent_find(keys.begin(), keys.end()) == keys.end(),
           "{}: a key of __metadata__ occurs twice", file.where_);
  return file;
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto at =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](std::size_t i, std::string_view n) { return entries_[i].name < n; });
  return at != by_name_.end() && entries_[*at].name == name ? &entries_[*at] : nullptr;
}

const TensorEntry& SafetensorsFile::at(std::string_view name) const {
  const TensorEntry* entry = find(name);
  R1_CHECK(entry != nullptr, "{}: no tensor named '{}'", where_, json::printable(name));
  return *entry;
}

namespace {

bool exists(const std::string& path, bool directory) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) == directory;
}

// A shard is a plain name in the same folder; anything else could lead out of it.
void check_shard_name(const std::string& name, const std::string& where) {
  R1_CHECK(name.size() > std::string_view(".safetensors").size() &&
               name.ends_with(".safetensors") && name.find_first_of("/\\") == std::string::npos &&
               name.front() != '.' && name == json::printable(name, name.size()),
           "{}: weight_map: '{}' is not the plain name of a .safetensors file", where,
           json::printable(name));
}

std::vector<SafetensorsFile> open_shards(const std::string& folder, const std::string& index) {
  const json::Value document = json::read_file(index);
  const json::Value* map = json::find(document, "weight_map", index);
  R1_CHECK(map != nullptr && map->is_object(), "{}: weight_map: expected an object, got {}", index,
           map == nullptr ? "nothing" : json::type_name(*map));
  std::map<std::string, std::size_t> listed;  // shard -> number of tensors
  for (const auto& [name, shard] : map->items()) {
    R1_CHECK(shard.is_string(), "{}: weight_map: {}: expected string, got {}", index,
             json::printable(name), json::type_name(shard));
    const auto& file = shard.get_ref<const std::string&>();
    check_shard_name(file, index);
    ++listed[file];
  }
  std::vector<SafetensorsFile> files;
  for (const auto& [shard, count] : listed) {
    const std::string path = folder + "/" + shard;
    R1_CHECK(exists(path, false), "{}: shard {} is missing in the folder", index, shard);
    files.push_back(SafetensorsFile::open(path));
    for (const TensorEntry& e : files.back().entries()) {
      const auto at = map->find(e.name);
      R1_CHECK(at != map->end(), "{}: tensor '{}' is in shard {} but not in weight_map", index,
               json::printable(e.name), shard);
      R1_CHECK(at->get_ref<const std::string&>() == shard,
               "{}: tensor '{}' is in shard {} but weight_map says {}", index,
               json::printable(e.name), shard, at->get_ref<const std::string&>());
    }
    if (files.back().entries().size() == count) continue;
    for (const auto& [name, file] : map->items())
      R1_CHECK(file.get_ref<const std::string&>() != shard || files.back().find(name) != nullptr,
               "{}: tensor '{}' is not in shard {}", index, json::printable(name), shard);
  }
  return files;
}

}  // namespace

SafetensorsFolder SafetensorsFolder::open(const std::string& path) {
  SafetensorsFolder result;
  result.where_ = path;
  const std::string single = path + "/model.safetensors";
  const std::string index = path + "/model.safetensors.index.json";
  if (!exists(path, true)) {
    result.files_.push_back(SafetensorsFile::open(path));
  } else if (exists(single, false)) {
    result.files_.push_back(SafetensorsFile::open(single));
  } else {
    R1_CHECK(exists(index, false),
             "{}: neither model.safetensors nor model.safetensors.index.json is in this folder",
             path);
    result.files_ = open_shards(path, index);
  }
  return result;
}

const TensorEntry* SafetensorsFolder::find(std::string_view name) const {
  for (const SafetensorsFile& file : files_)
    if (const TensorEntry* entry = file.find(name)) return entry;
  return nullptr;
}

const TensorEntry& SafetensorsFolder::at(std::string_view name) const {
  const TensorEntry* entry = find(name);
  R1_CHECK(entry != nullptr, "{}: no tensor named '{}'", where_, json::printable(name));
  return *entry;
}

std::vector<const TensorEntry*> SafetensorsFolder::entries() const {
  std::vector<const TensorEntry*> all;
  all.reserve(size());
  for (const SafetensorsFile& file : files_)
    for (const TensorEntry& e : file.entries()) all.push_back(&e);
  return all;
}

std::size_t SafetensorsFolder::size() const {
  std::size_t n = 0;
  for (const SafetensorsFile& file : files_) n += file.entries().size();
  return n;
}

}  // namespace r1
