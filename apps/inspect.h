// What `r1 inspect` finds in a model or a file of tensors, before it is printed. Nothing but the
// headers is read, so no memory is needed beyond the mapped files.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nn/config.h"

namespace r1::apps {

struct TensorRow {
  std::string name;  // as in the file
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t bytes = 0;

  std::uint64_t numel() const;
};

// Parameters by their place in the model.
struct ParameterCounts {
  std::int64_t total = 0, embedding = 0, attention = 0, feed_forward = 0, norms = 0, head = 0;
};

struct Inspection {
  Inspection(std::string p, std::string k) : path(std::move(p)), kind(std::move(k)) {}

  std::string path;                       // the folder or file that was read
  std::string kind;                       // "Hugging Face folder", "GGUF version 3", "safetensors"
  std::optional<nn::ModelConfig> config;  // none: not a model that r1 can run
  std::string no_config;                  // why there is none
  std::optional<ParameterCounts> counts;  // from the configuration
  bool has_weights = false;
  std::vector<TensorRow> tensors;  // in the order of the file
  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();
  // long arrays and strings abbreviated
  std::vector<std::string> problems;  // where tensors and configuration disagree
};

// `path`: a Hugging Face folder (weights may be absent), a config.json, a .safetensors or a .gguf
// file. Throws Error for a damaged file.
Inspection inspect(const std::string& path);

}  // namespace r1::apps
