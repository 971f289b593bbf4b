#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "data/json.h"
#include "data/safetensors.h"
#include "tensor/error.h"

namespace r1 {
namespace {

void check_entry(const TensorEntry& t, const std::string& path) {
  R1_CHECK(json::is_valid_utf8(t.name) && t.name != "__metadata__",
           "cannot write {}: '{}' is no name for a tensor", path, json::printable(t.name));
  std::uint64_t n = size_of(t.dtype);
  for (const std::uint64_t d : t.dims) {
    R1_CHECK(d == 0 || n <= std::numeric_limits<std::uint64_t>::max() / d,
             "cannot write {}: the size of tensor '{}' overflows", path, json::printable(t.name));
    n *= d;
  }
  R1_CHECK(n == t.bytes.size(), "cannot write {}: tensor '{}' of {} needs {} bytes but has {}",
           path, json::printable(t.name), t.str(), n, t.bytes.size());
}

// Falling dtype, then name: wider elements first keeps every tensor aligned.
void sort_and_check(std::vector<TensorEntry>& tensors, const std::string& path) {
  for (const TensorEntry& t : tensors) check_entry(t, path);
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  std::vector<std::string_view> names;
  for (const TensorEntry& t : tensors) names.push_back(t.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  R1_CHECK(twice == names.end(), "cannot write {}: tensor '{}' is given twice", path,
           json::printable(*twice));
}

std::string json_string(std::string_view text) { return nlohmann::json(text).dump(); }

std::string header_of(const std::vector<TensorEntry>& tensors, const Metadata& metadata,
                      const std::string& path) {
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      R1_CHECK(json::is_valid_utf8(key) && json::is_valid_utf8(value),
               "cannot write {}: metadata '{}' is not valid UTF-8", path, json::printable(key));
      if (header.back() != '{') header += ',';
      header += json_string(key) + ":" + json_string(value);
    }
    header += '}';
  }
  std::uint64_t offset = 0;
  for (const TensorEntry& t : tensors) {
    if (header.size() > 1) header += ',';
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          json_string(t.name), name_of(t.dtype), fmt::join(t.dims, ","), offset,
                          offset + t.bytes.size());
    offset += t.bytes.size();
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  return header;
}

}  // namespace

void write_safetensors(const std::string& path, std::vector<TensorEntry> tensors,
                       const Metadata& metadata) {
  sort_and_check(tensors, path);
  const std::string header = header_of(tensors, metadata, path);
  const std::uint64_t header_bytes = header.size();
  std::uint64_t total = sizeof(header_bytes) + header_bytes;
  for (const TensorEntry& t : tensors) total += t.bytes.size();
  AtomicFile file(path, total);
  file.write(&header_bytes, sizeof(header_bytes));
  file.write(header);
  for (const TensorEntry& t : tensors) file.write(t.bytes.data(), t.bytes.size());
  file.commit();
}

void write_safetensors_folder(const std::string& folder, const std::vector<TensorEntry>& tensors,
                              std::uint64_t max_shard_bytes, const Metadata& metadata) {
  std::vector<std::vector<TensorEntry>> shards(1);
  std::uint64_t total = 0, elements = 0, in_shard = 0;
  for (const TensorEntry& t : tensors) {
    if (!shards.back().empty() && in_shard + t.bytes.size() > max_shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(t);
    in_shard += t.bytes.size();
    total += t.bytes.size();
    elements += t.numel();
  }
  if (shards.size() == 1)
    return write_safetensors(folder + "/model.safetensors", std::move(shards[0]), metadata);

  nlohmann::json index;
  index["metadata"] = {{"total_parameters", elements}, {"total_size", total}};
  auto& map = index["weight_map"] = nlohmann::json::object();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    for (const TensorEntry& t : shards[i]) {
      const bool added = map.emplace(t.name, name).second;
      R1_CHECK(added, "cannot write {}: tensor '{}' is given twice", folder,
               json::printable(t.name));
    }
    write_safetensors(folder + "/" + name, std::move(shards[i]), metadata);
  }
  write_file_atomically(folder + "/model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace r1
