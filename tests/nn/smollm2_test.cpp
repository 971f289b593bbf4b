// SmolLM2-135M-Instruct from its GGUF file, where `./run smollm2` has put it.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/file.h"
#include "nn/batch.h"
#include "nn/generate.h"
#include "tests/nn/golden.h"

namespace r1::testing {
namespace {

const char* const kModel = R1_SOURCE_DIR "/models/SmolLM2-135M-Instruct.Q4_1.gguf";

TEST(SmolLM2, TokensLogprobsAndGreedyTextOfTransformers) {
  if (!std::filesystem::exists(kModel)) GTEST_SKIP() << "no " << kModel << ": ./run smollm2";
  const auto source = nn::ModelSource::open(kModel);
  const auto model = source.load(DType::f32);
  const Tokenizer tokenizer = source.tokenizer().value();
  EXPECT_EQ(model->parameter_count(), 134515008);
  for (const char* name : {"prose_0", "prose_1", "gsm8k_0", "gsm8k_1", "code", "chinese"}) {
    const auto want =
        nlohmann::json::parse(read_text_file(golden("smollm2/" + std::string(name) + ".json")));
    const auto ids = tokenizer.encode(want["text"].get<std::string>());
    ASSERT_EQ(ids, want["ids"].get<std::vector<std::int32_t>>()) << name;
    const auto got = nn::score(*model, {{ids}})[0];
    const auto logprobs = want["logprobs"].get<std::vector<double>>();
    EXPECT_LE(max_abs_difference(got, logprobs), 1e-3) << name;
    double total = 0;
    for (const double x : got) total -= x;
    EXPECT_NEAR(total, want["total_nll"].get<double>(), 2e-2) << name;

    const auto greedy = want["greedy_ids"].get<std::vector<std::int32_t>>();
    nn::Sampling s;
    s.temperature = 0;
    s.max_new_tokens = 32;
    s.stop_ids = source.stop_ids();
    const auto prompt = want["chat_prompt_ids"].get<std::vector<std::int32_t>>();
    const auto completion = nn::generate(*model, {{prompt}}, s)[0];
    EXPECT_EQ(completion.ids, greedy) << name;
    EXPECT_EQ(tokenizer.decode(completion.ids), want["greedy_text"].get<std::string>());
  }
}

}  // namespace
}  // namespace r1::testing
