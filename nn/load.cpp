#include "nn/load.h"

#include <algorithm>
#include <filesystem>
#include <unordered_map>

#include "data/file.h"
#include "data/gguf_tokenizer.h"
#include "data/json.h"
#include "tensor/allocator.h"

namespace r1::nn {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNamesShown = 3;

// "a, b, c and 5 more"
std::string some_of(const std::vector<std::string>& names) {
  std::string s;
  for (std::size_t i = 0; i < std::min(names.size(), kNamesShown); ++i) {
    s += (i ? ", " : "") + json::printable(names[i]);
  }
  if (names.size() > kNamesShown) s += fmt::format(" and {} more", names.size() - kNamesShown);
  return s;
}

// Tensors that old checkpoints carry beside the parameters and that follow from the configuration.
bool is_derived(const std::string& name, const ModelConfig& c) {
  return name.ends_with(".rotary_emb.inv_freq") || (c.tied && name == "lm_head.weight");
}

struct FoundTensor {
  std::string name;
  Shape shape;
};

std::vector<FoundTensor> tensors_of(const std::variant<SafetensorsFolder, GgufFile>& files) {
  std::vector<FoundTensor> list;
  if (const auto* folder = std::get_if<SafetensorsFolder>(&files)) {
    for (const TensorEntry* e : folder->entries()) list.push_back({e->name, e->shape()});
  } else {
    for (const HfTensor& t : hf_tensors(std::get<GgufFile>(files))) {
      list.push_back({t.name, t.tensor->shape});
    }
  }
  return list;
}

nlohmann::ordered_json read_optional(const std::string& path) {
  if (!fs::exists(path)) return nullptr;
  return json::parse_ordered(read_text_file(path), path);
}

}  // namespace

ModelSource ModelSource::open(const std::string& path) {
  ModelSource s;
  s.where_ = path;
  if (fs::is_directory(path)) {
    const std::string config_path = path + "/config.json";
    R1_CHECK(fs::exists(config_path),
             "{}: no config.json there; expected a Hugging Face model folder, a .gguf file or a "
             "run folder",
             path);
    s.config_json_ = json::parse_ordered(read_text_file(config_path), config_path);
    s.config_ = config_from_json(json::read_file(config_path), config_path);
    s.generation_config_ = read_optional(path + "/generation_config.json");
    s.files_ = SafetensorsFolder::open(path);
  } else {
    R1_CHECK(fs::exists(path),
             "{}: no such file or folder; expected a Hugging Face model folder, a .gguf file or a "
             "run folder",
             path);
    s.files_ = GgufFile::open(path);
    const nlohmann::json config = hf_config(*s.gguf());
    s.config_json_ = nlohmann::ordered_json::parse(config.dump());
    s.config_ = config_from_json(config, path);
  }
  s.stop_ids_ = s.config_.eos_ids;
  if (!s.generation_config_.is_null()) {
    const std::string where = path + "/generation_config.json";
    const auto plain = nlohmann::json::parse(s.generation_config_.dump());
    const std::vector<std::int32_t> ids = token_ids(plain, "eos_token_id", where);
    if (!ids.empty()) s.stop_ids_ = ids;
  }
  return s;
}

std::optional<Tokenizer> ModelSource::tokenizer() const {
  if (const GgufFile* file = gguf()) {
    if (!file->has("tokenizer.ggml.model")) return std::nullopt;
    return Tokenizer::from_gguf(gguf_tokenizer(*file), where_);
  }
  if (!fs::exists(where_ + "/tokenizer.json")) return std::nullopt;
  return Tokenizer::from_json_file(where_);
}

void ModelSource::check_names(Transformer& model) const {
  std::unordered_map<std::string, Shape> found;
  for (FoundTensor& t : tensors_of(files_)) found.emplace(std::move(t.name), t.shape);
  std::vector<std::string> missing, wrong, unexpected;
  model.visit([&](const std::string& name, Parameter&, const Shape& want) {
    const auto it = found.find(name);
    if (it == found.end()) {
      missing.push_back(name);
      return;
    }
    if (!(it->second == want)) {
      wrong.push_back(
          fmt::format("{} is {} but the configuration says {}", name, it->second, want));
    }
    found.erase(it);
  });
  for (const auto& [name, shape] : found) {
    if (!is_derived(name, config_)) unexpected.push_back(name);
  }
  std::sort(unexpected.begin(), unexpected.end());
  std::string problem;
  auto report = [&](const char* what, const std::vector<std::string>& names) {
    if (!names.empty())
      problem += (problem.empty() ? "" : "; ") + std::string(what) + some_of(names);
  };
  report("missing: ", missing);
  report("wrong shape: ", wrong);
  report("unexpected: ", unexpected);
  R1_CHECK(problem.empty(), "{}: weights and configuration disagree: {}", where_, problem);
}

std::unique_ptr<Transformer> ModelSource::load(DType dtype) const {
  auto model = std::make_unique<Transformer>(config_, dtype);
  check_names(*model);
  const memory::Scope scope("weights");
  if (const SafetensorsFolder* folder = safetensors()) {
    model->visit([&](const std::string& name, Parameter& p, const Shape& shape) {
      Tensor value = Tensor::empty(shape, dtype);
      read_tensor(folder->at(name), value, where_);
      p = Parameter(std::move(value));
    });
  } else {
    std::unordered_map<std::string, HfTensor> tensors;
    for (HfTensor& t : hf_tensors(*gguf())) tensors.emplace(t.name, t);
    model->visit([&](const std::string& name, Parameter& p, const Shape&) {
      p = Parameter(read_tensor(tensors.at(name), dtype, where_));
    });
  }
  return model;
}

ModelFiles model_files(const ModelSource& source) {
  ModelFiles files;
  files.config = source.config_json();
  files.generation_config = source.generation_config();
  if (files.generation_config.is_null() && !source.stop_ids().empty()) {
    files.generation_config["eos_token_id"] = source.stop_ids();
    if (!source.config().bos_ids.empty()) {
      files.generation_config["bos_token_id"] = source.config().bos_ids.front();
    }
  }
  if (const std::optional<Tokenizer> tokenizer = source.tokenizer()) {
    files.tokenizer = tokenizer->files();
  }
  return files;
}

void save_model(const std::string& folder, Transformer& model, const ModelFiles& files) {
  nlohmann::ordered_json config = files.config;
  const char* dtype = model.dtype() == DType::f64    ? "float64"
                      : model.dtype() == DType::bf16 ? "bfloat16"
                                                     : "float32";
  config["torch_dtype"] = dtype;
  if (config.contains("dtype")) config["dtype"] = dtype;
  auto write = [&](const char* name, const std::string& text) {
    if (!text.empty()) write_file_atomically(folder + "/" + name, text);
  };
  write("config.json", config.dump(2) + "\n");
  if (!files.generation_config.is_null()) {
    write("generation_config.json", files.generation_config.dump(2) + "\n");
  }
  write("tokenizer.json", files.tokenizer.tokenizer_json);
  write("tokenizer_config.json", files.tokenizer.tokenizer_config_json);
  write("chat_template.jinja", files.tokenizer.chat_template_jinja);
  std::vector<TensorEntry> tensors;
  for (const NamedParameter& p : model.parameters()) {
    tensors.push_back(entry_of(p.name, p.parameter->value));
  }
  write_safetensors_folder(folder, tensors);
}

}  // namespace r1::nn
