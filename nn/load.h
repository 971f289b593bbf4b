// Models on disk: a Hugging Face folder or a GGUF file, read by name, strict both ways.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>

#include "data/gguf_names.h"
#include "data/safetensors.h"
#include "data/tokenizer.h"
#include "nn/transformer.h"

namespace r1::nn {

// A model that was opened but not read: its configuration and the table of its tensors.
class ModelSource {
 public:
  // `path` is a folder with config.json and safetensors, or a .gguf file. Throws Error when a file
  // is missing, damaged or of an unknown architecture.
  static ModelSource open(const std::string& path);

  const std::string& where() const { return where_; }
  const ModelConfig& config() const { return config_; }
  // config.json as it was read, unknown keys included, or as made from a GGUF file.
  const nlohmann::ordered_json& config_json() const { return config_json_; }

  // generation_config.json; null when there is none.
  const nlohmann::ordered_json& generation_config() const { return generation_config_; }
  // Tokens that end a text: those of generation_config.json, else of config.json.
  const std::vector<std::int32_t>& stop_ids() const { return stop_ids_; }
  // Nothing when the folder has no tokenizer.json.
  std::optional<Tokenizer> tokenizer() const;

  // The whole model. Names and shapes of files and configuration are compared before anything is
  // allocated; one error lists what is missing, unexpected or of another shape.
  std::unique_ptr<Transformer> load(DType dtype) const;

  // The files behind it.
  const SafetensorsFolder* safetensors() const { return std::get_if<SafetensorsFolder>(&files_); }
  const GgufFile* gguf() const { return std::get_if<GgufFile>(&files_); }

 private:
  void check_names(Transformer& model) const;

  std::string where_;
  ModelConfig config_;
  nlohmann::ordered_json config_json_, generation_config_;
  std::vector<std::int32_t> stop_ids_;
  std::variant<SafetensorsFolder, GgufFile> files_;
};

// What a model folder holds beside its weights.
struct ModelFiles {
  nlohmann::ordered_json config;
  nlohmann::ordered_json generation_config;  // null: none is written
  TokenizerFiles tokenizer;                  // empty: none is written
};
ModelFiles model_files(const ModelSource& source);

// Writes config.json, model.safetensors (or shards), generation_config.json and the tokenizer into
// an existing folder, in the model's dtype; the folder loads in transformers as it is.
void save_model(const std::string& folder, Transformer& model, const ModelFiles& files);

}  // namespace r1::nn
