#include "data/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>

#include "data/json.h"
#include "tensor/error.h"

static_assert(std::endian::native == std::endian::little, "the file formats are little-endian");

namespace r1 {
namespace {

constexpr std::uint64_t kMaxKeys = 65536;
constexpr std::uint64_t kMaxKeyBytes = 65535;
constexpr std::uint64_t kMaxStringBytes = 1u << 20;
constexpr std::uint64_t kMaxArray = 1u << 26;
constexpr std::uint64_t kMaxNameBytes = 63;  // ggml keeps 64 with a NUL
constexpr std::uint64_t kDefaultAlignment = 32;

struct TypeInfo {
  GgmlType type;
  const char* name;
  std::int64_t elements, bytes;  // of one block
};
constexpr TypeInfo kTypes[] = {
    {GgmlType::f32, "F32", 1, 4},       {GgmlType::f16, "F16", 1, 2},
    {GgmlType::bf16, "BF16", 1, 2},     {GgmlType::q8_0, "Q8_0", 32, 34},
    {GgmlType::q4_0, "Q4_0", 32, 18},   {GgmlType::q4_1, "Q4_1", 32, 20},
    {GgmlType::q5_0, "Q5_0", 32, 22},   {GgmlType::q5_1, "Q5_1", 32, 24},
    {GgmlType::q4_k, "Q4_K", 256, 144}, {GgmlType::q5_k, "Q5_K", 256, 176},
    {GgmlType::q6_k, "Q6_K", 256, 210}};

// Names of all the types of ggml, so that a refusal can say what it refuses.
constexpr const char* kAllTypeNames[] = {
    "F32",   "F16",        "Q4_0",       "Q4_1",       "Q4_2",     "Q4_3",     "Q5_0",
    "Q5_1",  "Q8_0",       "Q8_1",       "Q2_K",       "Q3_K",     "Q4_K",     "Q5_K",
    "Q6_K",  "Q8_K",       "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
    "IQ3_S", "IQ2_S",      "IQ4_XS",     "I8",         "I16",      "I32",      "I64",
    "F64",   "IQ1_M",      "BF16",       "Q4_0_4_4",   "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",
    "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4"};

const TypeInfo* find_type(std::uint32_t value) {
  for (const TypeInfo& info : kTypes)
    if (static_cast<std::uint32_t>(info.type) == value) return &info;
  return nullptr;
}

constexpr const char* kValueTypeNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                           "bool", "string", "array", "u64", "i64", "f64"};
const char* name_of(GgufValueType type) { return kValueTypeNames[static_cast<std::size_t>(type)]; }

std::uint64_t bytes_of(GgufValueType type) {
  switch (type) {
    case GgufValueType::u8:
    case GgufValueType::i8:
    case GgufValueType::boolean:
      return 1;
    case GgufValueType::u16:
    case GgufValueType::i16:
      return 2;
    case GgufValueType::u32:
    case GgufValueType::i32:
    case GgufValueType::f32:
      return 4;
    default:
      return 8;
  }
}

// The only place that reads the file: never beyond its end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& where)
      : bytes_(bytes), where_(where) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(std::uint64_t n, const char* what) {
    R1_CHECK(n <= left(), "{}: the file ends inside {} (byte {}: {} needed, {} left)", where_, what,
             position_, n, left());
    const auto part = bytes_.subspan(position_, n);
    position_ += n;
    return part;
  }
  template <class T>
  T read(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> since(std::uint64_t begin) const {
    return bytes_.subspan(begin, position_ - begin);
  }
  // u64 length and bytes.
  std::string_view read_string(std::uint64_t max_bytes, const char* what) {
    const auto n = read<std::uint64_t>(what);
    R1_CHECK(n <= max_bytes, "{}: {} of {} bytes at byte {} is longer than {}", where_, what, n,
             position_, max_bytes);
    const auto part = take(n, what);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  // A count of things that take at least min_bytes each.
  std::uint64_t read_count(std::uint64_t min_bytes, std::uint64_t max, const char* what) {
    const auto n = read<std::uint64_t>(what);
    R1_CHECK(n <= max, "{}: the {} {} is above the limit {}", where_, what, n, max);
    R1_CHECK(n <= left() / min_bytes, "{}: the {} {} does not fit in the {} bytes that are left",
             where_, what, n, left());
    return n;
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& where_;
  std::uint64_t position_ = 0;
};

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

// A number of a file as one of the wide types; bool separately.
GgufValue scalar(GgufValueType type, const std::byte* p) {
  switch (type) {
    case GgufValueType::u8:
      return std::uint64_t{load<std::uint8_t>(p)};
    case GgufValueType::i8:
      return std::int64_t{load<std::int8_t>(p)};
    case GgufValueType::u16:
      return std::uint64_t{load<std::uint16_t>(p)};
    case GgufValueType::i16:
      return std::int64_t{load<std::int16_t>(p)};
    case GgufValueType::u32:
      return std::uint64_t{load<std::uint32_t>(p)};
    case GgufValueType::i32:
      return std::int64_t{load<std::int32_t>(p)};
    case GgufValueType::u64:
      return load<std::uint64_t>(p);
    case GgufValueType::i64:
      return load<std::int64_t>(p);
    case GgufValueType::f32:
      return static_cast<double>(load<float>(p));
    case GgufValueType::f64:
      return load<double>(p);
    default:
      return load<std::uint8_t>(p) != 0;
  }
}

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& where)
      : cursor_(bytes, where), where_(where) {}

  int read_header() {
    const auto magic = cursor_.take(4, "the magic number");
    R1_CHECK(std::memcmp(magic.data(), "GGUF", 4) == 0,
             "{}: not a GGUF file: it does not begin with 'GGUF'", where_);
    const auto version = cursor_.read<std::uint32_t>("the version");
    R1_CHECK((version & 0xffffu) != 0, "{}: a big-endian GGUF file is not supported", where_);
    R1_CHECK(version == 2 || version == 3, "{}: GGUF version {} is not supported (2 and 3 are)",
             where_, version);
    // A tensor info has at least a name length, a dimension count, a type and an offset.
    tensor_count_ = cursor_.read_count(8 + 4 + 4 + 8, kMaxArray, "number of tensors");
    key_count_ = cursor_.read_count(8 + 4 + 1, kMaxKeys, "number of metadata entries");
    return static_cast<int>(version);
  }

  std::vector<GgufEntry> read_metadata() {
    std::vector<GgufEntry> entries;
    for (std::uint64_t i = 0; i < key_count_; ++i) {
      GgufEntry e;
      e.key = cursor_.read_string(kMaxKeyBytes, "a metadata key");
      R1_CHECK(json::is_valid_utf8(e.key), "{}: metadata key {} is not valid UTF-8", where_, i);
      e.type = read_type(e.key);
      e.value = e.type == GgufValueType::array    ? read_array(e.key)
                : e.type == GgufValueType::string ? read_text(e.key)
                                                  : read_scalar(e.type, e.key);
      entries.push_back(std::move(e));
    }
    return entries;
  }

  // Reads the infos and places the data behind them.
  std::vector<GgufTensor> read_tensors(std::uint64_t alignment) {
    std::vector<GgufTensor> tensors;
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t i = 0; i < tensor_count_; ++i) {
      tensors.push_back(read_info());
      offsets.push_back(cursor_.read<std::uint64_t>("a tensor's offset"));
    }
    if (tensors.empty()) return tensors;
    skip_padding(alignment);
    const std::uint64_t data_begin = cursor_.position();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const std::string name = json::printable(tensors[i].name);
      if (i > 0) skip_padding(alignment);
      const std::uint64_t expected = cursor_.position() - data_begin;
      R1_CHECK(offsets[i] % alignment == 0,
               "{}: tensor '{}': offset {} is not a multiple of the alignment {}", where_, name,
               offsets[i], alignment);
      R1_CHECK(offsets[i] == expected, "{}: tensor '{}': offset {}, expected {}: {}", where_, name,
               offsets[i], expected,
               offsets[i] < expected ? "it overlaps the tensor before" : "a hole before it");
      tensors[i].bytes = cursor_.take(data_bytes(tensors[i]), "a tensor's data");
    }
    return tensors;
  }

 private:
  GgufValueType read_type(const std::string& key) {
    const auto type = cursor_.read<std::uint32_t>("a metadata type");
    R1_CHECK(type < std::size(kValueTypeNames), "{}: {}: unknown metadata type {}", where_,
             json::printable(key), type);
    return static_cast<GgufValueType>(type);
  }

  GgufValue read_text(const std::string&) {
    return cursor_.read_string(kMaxStringBytes, "a metadata string");
  }

  GgufValue read_scalar(GgufValueType type, const std::string& key) {
    const auto bytes = cursor_.take(bytes_of(type), "a metadata value");
    if (type == GgufValueType::boolean) check_booleans(bytes, key);
    return scalar(type, bytes.data());
  }

  GgufValue read_array(const std::string& key) {
    const GgufValueType type = read_type(key);
    R1_CHECK(type != GgufValueType::array, "{}: {}: an array of arrays is not supported", where_,
             json::printable(key));
    if (type == GgufValueType::string) {
      GgufStrings strings;
      strings.count = cursor_.read_count(8, kMaxArray, "number of strings in an array");
      const std::uint64_t begin = cursor_.position();
      for (std::uint64_t i = 0; i < strings.count; ++i)
        cursor_.read_string(kMaxStringBytes, "a string of an array");
      strings.bytes = cursor_.since(begin);
      return strings;
    }
    GgufNumbers numbers;
    numbers.type = type;
    numbers.count = cursor_.read_count(bytes_of(type), kMaxArray, "number of elements in an array");
    numbers.bytes = cursor_.take(numbers.count * bytes_of(type), "an array");
    if (type == GgufValueType::boolean) check_booleans(numbers.bytes, key);
    return numbers;
  }

  void check_booleans(std::span<const std::byte> bytes, const std::string& key) const {
    for (const std::byte b : bytes)
      R1_CHECK(b <= std::byte{1}, "{}: {}: a boolean has the value {}", where_,
               json::printable(key), std::to_integer<int>(b));
  }

  GgufTensor read_info() {
    GgufTensor t;
    t.name = cursor_.read_string(kMaxNameBytes, "a tensor's name");
    R1_CHECK(json::is_valid_utf8(t.name), "{}: a tensor's name is not valid UTF-8: '{}'", where_,
             json::printable(t.name));
    const std::string name = json::printable(t.name);
    const auto rank = cursor_.read<std::uint32_t>("a tensor's number of dimensions");
    R1_CHECK(rank <= Shape::kMaxRank, "{}: tensor '{}' has {} dimensions, the limit is {}", where_,
             name, rank, Shape::kMaxRank);
    std::array<std::int64_t, Shape::kMaxRank> dims{};  // fastest first
    constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
    std::int64_t elements = 1;
    for (std::uint32_t i = 0; i < rank; ++i) {
      const auto d = cursor_.read<std::uint64_t>("a tensor's dimensions");
      R1_CHECK(d <= static_cast<std::uint64_t>(kMax), "{}: tensor '{}': dimension {} is too large",
               where_, name, d);
      dims[i] = static_cast<std::int64_t>(d);
      R1_CHECK(dims[i] == 0 || elements <= kMax / dims[i],
               "{}: tensor '{}': the product of its dimensions overflows", where_, name);
      elements *= dims[i];
    }
    for (std::uint32_t i = rank; i > 0; --i) t.shape.push_back(dims[i - 1]);
    const TypeInfo& info = read_tensor_type(name);
    t.type = info.type;
    R1_CHECK(t.shape.cols() % info.elements == 0,
             "{}: tensor '{}': rows of {} elements are no whole number of {} blocks of {}", where_,
             name, t.shape.cols(), info.name, info.elements);
    R1_CHECK(elements / info.elements <= kMax / info.bytes, "{}: tensor '{}': its size overflows",
             where_, name);
    return t;
  }

  const TypeInfo& read_tensor_type(const std::string& name) {
    const auto type = cursor_.read<std::uint32_t>("a tensor's type");
    if (const TypeInfo* info = find_type(type)) return *info;
    std::string readable;
    for (const TypeInfo& i : kTypes) readable.append(" ").append(i.name);
    fail("{}: tensor '{}' has type {} ({}), which cannot be read; readable:{}", where_, name,
         type < std::size(kAllTypeNames) ? kAllTypeNames[type] : "unknown", type, readable);
  }

  static std::uint64_t data_bytes(const GgufTensor& t) {
    return static_cast<std::uint64_t>(t.shape.numel() / block_elements(t.type) *
                                      block_bytes(t.type));
  }

  void skip_padding(std::uint64_t alignment) {
    const std::uint64_t over = cursor_.position() % alignment;
    if (over != 0) cursor_.take(alignment - over, "the padding before a tensor");
  }

  Cursor cursor_;
  const std::string& where_;
  std::uint64_t tensor_count_ = 0, key_count_ = 0;
};

// Indices of `items` sorted by `name`; refuses equal names.
template <class Items, class Name>
std::vector<std::size_t> sorted_unique(const Items& items, Name&& name, const std::string& where,
                                       const char* what) {
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return name(items[a]) < name(items[b]); });
  for (std::size_t i = 1; i < order.size(); ++i)
    R1_CHECK(name(items[order[i - 1]]) != name(items[order[i]]), "{}: {} '{}' occurs twice", where,
             what, json::printable(name(items[order[i]])));
  return order;
}

template <class Items, class Name>
auto find_sorted(const Items& items, const std::vector<std::size_t>& order, Name&& name,
                 std::string_view wanted) -> const typename Items::value_type* {
  const auto at = std::lower_bound(
      order.begin(), order.end(), wanted,
      [&](std::size_t i, std::string_view w) { return std::string_view(name(items[i])) < w; });
  return at != order.end() && name(items[*at]) == wanted ? &items[*at] : nullptr;
}

const std::string& key_of(const GgufEntry& e) { return e.key; }
const std::string& tensor_name(const GgufTensor& t) { return t.name; }

[[noreturn]] void fail_type(const std::string& where, const GgufEntry& e, const char* expected) {
  fail("{}: {}: expected {}, got {}", where, json::printable(e.key), expected, name_of(e.type));
}

std::int64_t as_int(const GgufValue& value, const GgufEntry& e, const std::string& where) {
  if (const auto* i = std::get_if<std::int64_t>(&value)) return *i;
  const auto* u = std::get_if<std::uint64_t>(&value);
  if (u == nullptr) fail_type(where, e, "an integer");
  R1_CHECK(*u <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()),
           "{}: {}: {} is too large", where, json::printable(e.key), *u);
  return static_cast<std::int64_t>(*u);
}

double as_number(const GgufValue& value, const GgufEntry& e, const std::string& where) {
  if (const auto* d = std::get_if<double>(&value)) return *d;
  if (const auto* u = std::get_if<std::uint64_t>(&value)) return static_cast<double>(*u);
  return static_cast<double>(as_int(value, e, where));
}

template <class T, class F>
std::vector<T> convert_array(const GgufEntry& e, const std::string& where, F&& as) {
  const auto* numbers = std::get_if<GgufNumbers>(&e.value);
  if (numbers == nullptr) fail_type(where, e, "an array of numbers");
  std::vector<T> out;
  out.reserve(numbers->count);
  for (std::uint64_t i = 0; i < numbers->count; ++i)
    out.push_back(
        as(scalar(numbers->type, numbers->bytes.data() + i * bytes_of(numbers->type)), e, where));
  return out;
}

}  // namespace

const char* name_of(GgmlType type) { return find_type(static_cast<std::uint32_t>(type))->name; }
std::int64_t block_elements(GgmlType type) {
  return find_type(static_cast<std::uint32_t>(type))->elements;
}
std::int64_t block_bytes(GgmlType type) {
  return find_type(static_cast<std::uint32_t>(type))->bytes;
}

GgufFile GgufFile::open(const std::string& path) {
  auto file = std::make_shared<const MappedFile>(path);
  GgufFile result = parse(file->bytes(), path);
  result.file_ = std::move(file);
  return result;
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::string where) {
  GgufFile file;
  file.where_ = std::move(where);
  Reader reader(bytes, file.where_);
  file.version_ = reader.read_header();
  file.metadata_ = reader.read_metadata();
  file.keys_sorted_ = sorted_unique(file.metadata_, key_of, file.where_, "metadata key");
  std::uint64_t alignment = kDefaultAlignment;
  if (const GgufEntry* e = file.entry("general.alignment")) {
    if (e->type != GgufValueType::u32) fail_type(file.where_, *e, "u32");
    alignment = std::get<std::uint64_t>(e->value);
    R1_CHECK(std::has_single_bit(alignment) && alignment >= 8,
             "{}: general.alignment {} is not a power of two from 8 on", file.where_, alignment);
  }
  file.tensors_ = reader.read_tensors(alignment);
  file.names_sorted_ = sorted_unique(file.tensors_, tensor_name, file.where_, "tensor");
  return file;
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  return find_sorted(tensors_, names_sorted_, tensor_name, name);
}

const GgufTensor& GgufFile::at(std::string_view name) const {
  const GgufTensor* t = find(name);
  R1_CHECK(t != nullptr, "{}: no tensor named '{}'", where_, json::printable(name));
  return *t;
}

const GgufEntry* GgufFile::entry(std::string_view key) const {
  return find_sorted(metadata_, keys_sorted_, key_of, key);
}

const GgufEntry& GgufFile::require(std::string_view key) const {
  const GgufEntry* e = entry(key);
  R1_CHECK(e != nullptr, "{}: {}: the metadata lacks this key", where_, key);
  return *e;
}

std::int64_t GgufFile::get_int(std::string_view key, std::int64_t min, std::int64_t max) const {
  const GgufEntry& e = require(key);
  const std::int64_t n = as_int(e.value, e, where_);
  R1_CHECK(n >= min && n <= max, "{}: {}: {} is outside {} .. {}", where_, key, n, min, max);
  return n;
}

double GgufFile::get_number(std::string_view key) const {
  const GgufEntry& e = require(key);
  return as_number(e.value, e, where_);
}

bool GgufFile::get_bool(std::string_view key) const {
  const GgufEntry& e = require(key);
  const bool* b = std::get_if<bool>(&e.value);
  if (b == nullptr) fail_type(where_, e, "bool");
  return *b;
}

std::string GgufFile::get_string(std::string_view key) const {
  const GgufEntry& e = require(key);
  const auto* s = std::get_if<std::string_view>(&e.value);
  if (s == nullptr) fail_type(where_, e, "a string");
  R1_CHECK(json::is_valid_utf8(*s), "{}: {}: the string is not valid UTF-8", where_, key);
  return std::string(*s);
}

std::vector<std::int64_t> GgufFile::get_ints(std::string_view key) const {
  return convert_array<std::int64_t>(require(key), where_, as_int);
}

std::vector<double> GgufFile::get_numbers(std::string_view key) const {
  return convert_array<double>(require(key), where_, as_number);
}

std::vector<std::string_view> GgufFile::get_strings(std::string_view key) const {
  const GgufEntry& e = require(key);
  const auto* strings = std::get_if<GgufStrings>(&e.value);
  if (strings == nullptr) fail_type(where_, e, "an array of strings");
  std::vector<std::string_view> out;
  out.reserve(strings->count);
  Cursor cursor(strings->bytes, where_);
  for (std::uint64_t i = 0; i < strings->count; ++i)
    out.push_back(cursor.read_string(kMaxStringBytes, "a string of an array"));
  return out;
}

std::int64_t GgufFile::get_int_or(std::string_view key, std::int64_t fallback, std::int64_t min,
                                  std::int64_t max) const {
  return has(key) ? get_int(key, min, max) : fallback;
}
double GgufFile::get_number_or(std::string_view key, double fallback) const {
  return has(key) ? get_number(key) : fallback;
}
bool GgufFile::get_bool_or(std::string_view key, bool fallback) const {
  return has(key) ? get_bool(key) : fallback;
}
std::string GgufFile::get_string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? get_string(key) : std::string(fallback);
}

}  // namespace r1
