#include "apps/inspect.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <type_traits>

#include "data/gguf_names.h"
#include "data/json.h"
#include "data/safetensors.h"
#include "data/utf8.h"
#include "nn/transformer.h"

namespace r1::apps {
namespace fs = std::filesystem;
namespace {

using nlohmann::ordered_json;

constexpr std::size_t kLongText = 2000;  // characters of a metadata string that are shown
constexpr std::size_t kLongArray = 16;   // elements

// A Hugging Face name -> shape, for the comparison of files and configuration.
using ShapeTable = std::map<std::string, std::vector<std::uint64_t>>;

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

ordered_json text_value(std::string_view text) {
  if (text.size() <= kLongText) return utf8_replace_invalid(text);
  const std::string_view begin = text.substr(0, kLongText);
  const std::string head =
      utf8_replace_invalid(begin.substr(0, kLongText - utf8_incomplete_tail(begin)));
  return fmt::format("{}... ({} bytes)", head, text.size());
}

struct MetadataValue {
  const GgufFile& file;
  const std::string& key;

  ordered_json operator()(std::uint64_t x) const { return x; }
  ordered_json operator()(std::int64_t x) const { return x; }
  // JSON has no infinity.
  ordered_json operator()(double x) const {
    return std::isfinite(x) ? ordered_json(x) : ordered_json(fmt::format("{}", x));
  }
  ordered_json operator()(bool x) const { return x; }
  ordered_json operator()(std::string_view x) const { return text_value(x); }
  ordered_json operator()(const GgufNumbers& x) const {
    if (x.count > kLongArray) return fmt::format("[{} numbers]", x.count);
    switch (x.type) {
      case GgufValueType::u8:
        return list_of<std::uint8_t>(x);
      case GgufValueType::i8:
        return list_of<std::int8_t>(x);
      case GgufValueType::u16:
        return list_of<std::uint16_t>(x);
      case GgufValueType::i16:
        return list_of<std::int16_t>(x);
      case GgufValueType::u32:
        return list_of<std::uint32_t>(x);
      case GgufValueType::i32:
        return list_of<std::int32_t>(x);
      case GgufValueType::u64:
        return list_of<std::uint64_t>(x);
      case GgufValueType::i64:
        return list_of<std::int64_t>(x);
      case GgufValueType::f32:
        return list_of<float>(x);
      case GgufValueType::f64:
        return list_of<double>(x);
      case GgufValueType::boolean:
        return list_of<std::uint8_t>(x, true);
      default:
        return nullptr;
    }
  }
  ordered_json operator()(const GgufStrings& x) const {
    if (x.count > kLongArray) return fmt::format("[{} strings]", x.count);
    ordered_json list = ordered_json::array();
    for (const std::string_view text : file.get_strings(key)) list.push_back(text_value(text));
    return list;
  }

  template <class T>
  ordered_json list_of(const GgufNumbers& x, bool boolean = false) const {
    ordered_json list = ordered_json::array();
    for (std::uint64_t i = 0; i < x.count; ++i) {
      T value;
      std::memcpy(&value, x.bytes.data() + i * sizeof value, sizeof value);
      if (boolean) list.push_back(value != 0);
      else if constexpr (std::is_integral_v<T>) list.push_back(value);
      else list.push_back((*this)(static_cast<double>(value)));
    }
    return list;
  }
};

// Parameters of the configuration, and their shapes.
void count_parameters(Inspection& result, ShapeTable& expected) {
  nn::Transformer model(*result.config, DType::f32);
  ParameterCounts counts;
  model.visit([&](const std::string& name, const Parameter&, const Shape& shape) {
    const std::int64_t n = shape.numel();
    std::vector<std::uint64_t>& dims = expected[name];
    for (int i = 0; i < shape.rank(); ++i) dims.push_back(static_cast<std::uint64_t>(shape[i]));
    counts.total += n;
    const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
    if (has("embed_tokens")) counts.embedding += n;
    else if (has("lm_head")) counts.head += n;
    else if (has("norm")) counts.norms += n;
    else if (has("self_attn")) counts.attention += n;
    else counts.feed_forward += n;
  });
  result.counts = counts;
}

// Fills `problems` with every tensor that is missing, unexpected or of another shape.
void compare(Inspection& result, const ShapeTable& expected, const ShapeTable& found) {
  for (const auto& [name, shape] : expected) {
    const auto it = found.find(name);
    if (it == found.end()) {
      result.problems.push_back("missing: " + name);
    } else if (it->second != shape) {
      result.problems.push_back(fmt::format("{}: shape {}, the configuration says {}", name,
                                            shape_text(it->second), shape_text(shape)));
    }
  }
  // A tied head may be stored all the same, and old files hold the rotary frequencies.
  for (const auto& [name, shape] : found) {
    const bool known = expected.count(name) != 0 || name.ends_with("rotary_emb.inv_freq") ||
                       (result.config->tied && name == "lm_head.weight");
    if (!known) result.problems.push_back("unexpected: " + name);
  }
}

void add_tensors(Inspection& result, const SafetensorsFile& file, ShapeTable& found) {
  for (const TensorEntry& t : file.entries()) {
    result.tensors.push_back({t.name, name_of(t.dtype), t.dims, t.bytes.size()});
    found[t.name] = t.dims;
  }
  for (const auto& [key, value] : file.metadata()) result.metadata[key] = text_value(value);
  result.has_weights = true;
}

void read_config(Inspection& result, const std::string& path, ShapeTable& expected) {
  result.config = nn::config_from_json(json::read_file(path), path);
  count_parameters(result, expected);
}

Inspection inspect_folder(const std::string& path) {
  Inspection result(path, "Hugging Face folder");
  ShapeTable expected, found;
  read_config(result, path + "/config.json", expected);
  if (fs::exists(path + "/model.safetensors") ||
      fs::exists(path + "/model.safetensors.index.json")) {
    const SafetensorsFolder folder = SafetensorsFolder::open(path);
    for (const SafetensorsFile& file : folder.files()) add_tensors(result, file, found);
    compare(result, expected, found);
  }
  return result;
}

Inspection inspect_gguf(const std::string& path) {
  const GgufFile file = GgufFile::open(path);
  Inspection result(path, fmt::format("GGUF version {}", file.version()));
  result.has_weights = true;
  for (const GgufEntry& e : file.metadata())
    result.metadata[utf8_replace_invalid(e.key)] = std::visit(MetadataValue{file, e.key}, e.value);
  for (const GgufTensor& t : file.tensors()) {
    TensorRow row{t.name, name_of(t.type), {}, t.bytes.size()};
    for (int i = 0; i < t.shape.rank(); ++i)
      row.shape.push_back(static_cast<std::uint64_t>(t.shape[i]));
    result.tensors.push_back(std::move(row));
  }
  // A file of tensors need not be a model.
  ShapeTable expected, found;
  try {
    result.config = nn::config_from_json(hf_config(file), path);
    count_parameters(result, expected);
    for (const HfTensor& t : hf_tensors(file))
      for (int i = 0; i < t.tensor->shape.rank(); ++i)
        found[t.name].push_back(static_cast<std::uint64_t>(t.tensor->shape[i]));
    compare(result, expected, found);
  } catch (const Error& e) {
    result.config.reset();
    result.counts.reset();
    result.no_config = e.what();
  }
  return result;
}

}  // namespace

std::uint64_t TensorRow::numel() const {
  std::uint64_t n = 1;
  for (const std::uint64_t d : shape) n *= d;
  return n;
}

Inspection inspect(const std::string& path) {
  if (fs::is_directory(path)) return inspect_folder(path);
  if (path.ends_with(".gguf")) return inspect_gguf(path);
  ShapeTable shapes;
  Inspection result(path, "safetensors");
  if (path.ends_with(".json")) {
    result.kind = "Hugging Face configuration";
    read_config(result, path, shapes);
  } else {
    add_tensors(result, SafetensorsFile::open(path), shapes);
    result.no_config = "a file of tensors without configuration";
  }
  return result;
}

}  // namespace r1::apps
