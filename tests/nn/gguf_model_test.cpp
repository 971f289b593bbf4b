// GGUF models: the logits of the Hugging Face models they were made from, and the folder that is
// saved from them.
#include <filesystem>
#include <fstream>

#include "data/gguf_tokenizer.h"
#include "tests/nn/golden.h"

namespace r1::testing {
namespace {

class GgufModel : public ::testing::TestWithParam<const char*> {
 protected:
  std::string path() const { return golden("gguf/" + std::string(GetParam()) + ".gguf"); }
  std::vector<double> expected(const char* key) const {
    const std::string file = golden("gguf/" + std::string(GetParam()) + ".expected.safetensors");
    return read_tensor(SafetensorsFile::open(file).at(key), DType::f64, file).to_vector();
  }
  std::vector<std::vector<std::int32_t>> rows() const {
    const std::string file = golden("gguf/" + std::string(GetParam()) + ".expected.safetensors");
    const Tensor ids = read_tensor(SafetensorsFile::open(file).at("input_ids"), DType::i32, file);
    std::vector<std::vector<std::int32_t>> out;
    for (std::int64_t b = 0; b < ids.dim(0); ++b) {
      const auto* p = ids.data<std::int32_t>() + b * ids.dim(1);
      out.emplace_back(p, p + ids.dim(1));
    }
    return out;
  }
};

std::vector<double> logits(nn::Transformer& model,
                           const std::vector<std::vector<std::int32_t>>& rows) {
  return model.logits(model.hidden(nn::pack_sequences(model.config(), rows))).to_vector();
}

TEST_P(GgufModel, Logits) {
  const auto source = nn::ModelSource::open(path());
  const bool f32_file = std::string(GetParam()) != "llama3_rope";  // that one holds F16 matrices
  const auto want = expected("logits");
  // The reference logits are stored in f32.
  const double rounding = max_abs(want) * 0x1p-24;
  const auto f64 = source.load(DType::f64);
  const auto got = logits(*f64, rows());
  EXPECT_LE(max_abs_difference(got, want), f32_file ? 2e-5 + rounding : 3e-4);
  if (f32_file) {
    // The same weights from the Hugging Face folder give the same numbers.
    const GoldenModel g(GetParam());
    const auto model = g.source.load(DType::f64);
    EXPECT_LE(max_abs_difference(got, logits(*model, rows())), 1e-9);
  }
  const auto f32 = source.load(DType::f32);
  EXPECT_LE(max_abs_difference(logits(*f32, rows()), want), 3e-4);
}

TEST_P(GgufModel, SavedFolderGivesTheSameLogits) {
  const auto source = nn::ModelSource::open(path());
  const auto model = source.load(DType::f32);
  const auto folder =
      std::filesystem::temp_directory_path() / ("r1-gguf-" + std::string(GetParam()));
  std::filesystem::create_directories(folder);
  nn::save_model(folder.string(), *model, nn::model_files(source));
  const auto again = nn::ModelSource::open(folder.string()).load(DType::f32);
  EXPECT_EQ(logits(*again, rows()), logits(*model, rows()));
  std::filesystem::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Models, GgufModel,
                         ::testing::Values("llama_plain", "llama3_rope", "qwen3"),
                         [](const auto& model) { return std::string(model.param); });

class RoundTrip : public ::testing::TestWithParam<const char*> {};

TEST_P(RoundTrip, LoadAndSaveGivesByteEqualTensors) {
  const GoldenModel g(GetParam());
  const auto model = g.source.load(DType::f32);
  const auto folder = std::filesystem::temp_directory_path() / ("r1-hf-" + std::string(GetParam()));
  std::filesystem::create_directories(folder);
  nn::save_model(folder.string(), *model, nn::model_files(g.source));
  const auto before = SafetensorsFolder::open(g.folder);
  const auto after = SafetensorsFolder::open(folder.string());
  ASSERT_EQ(after.size(), before.size());
  for (const TensorEntry* e : before.entries()) {
    const TensorEntry& saved = after.at(e->name);
    EXPECT_EQ(saved.dims, e->dims);
    EXPECT_TRUE(
        std::equal(saved.bytes.begin(), saved.bytes.end(), e->bytes.begin(), e->bytes.end()))
        << e->name;
  }
  std::filesystem::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Models, RoundTrip,
                         ::testing::Values("llama_plain", "llama3_rope", "qwen2", "qwen3"),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace r1::testing
