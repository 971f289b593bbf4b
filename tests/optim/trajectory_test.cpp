// Fifty AdamW steps of torch, step by step: loss, gradient norm, final weights.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/file.h"
#include "nn/batch.h"
#include "optim/train_step.h"
#include "tests/nn/golden.h"

namespace r1::testing {
namespace {

struct Trajectory {
  explicit Trajectory(const std::string& name)
      : json(nlohmann::json::parse(read_text_file(golden("trajectories/" + name + ".json")))),
        tensors(SafetensorsFile::open(golden("trajectories/" + name + ".safetensors"))) {}

  std::vector<Example> batch(std::int64_t step) const {
    const Tensor all = read_tensor(tensors.at("input_ids"), DType::i32, "input_ids");
    const std::int64_t B = all.dim(1), T = all.dim(2);
    std::vector<Example> out;
    for (std::int64_t b = 0; b < B; ++b) {
      const auto* p = all.data<std::int32_t>() + (step * B + b) * T;
      out.push_back({{p, p + T}, {}});
    }
    return out;
  }

  nlohmann::json json;
  SafetensorsFile tensors;
};

class TrajectoryTest : public ::testing::TestWithParam<const char*> {};

void run(const std::string& name, DType dtype) {
  const Trajectory t(name);
  const GoldenModel g(name);
  const auto model = g.source.load(dtype);
  optim::AdamW optimizer(model->parameters(), {.beta1 = t.json["betas"][0],
                                               .beta2 = t.json["betas"][1],
                                               .eps = t.json["eps"],
                                               .weight_decay = t.json["weight_decay"]});
  const auto gap = [&](const char* key) { return t.json["f32_vs_f64"][key].get<double>(); };
  const double loss_tolerance =
      dtype == DType::f64 ? 1e-9 : std::max(4 * gap("loss_max_abs"), 1e-5);
  const double norm_tolerance =
      dtype == DType::f64 ? 1e-9 : std::max(4 * gap("grad_norm_max_rel"), 1e-5);
  for (std::int64_t step = 0; step < 50; ++step) {
    const auto at = static_cast<std::size_t>(step);
    const nn::Batch batch = nn::make_batch(model->config(), t.batch(step));
    const optim::StepStats stats = optim::train_step(
        optimizer, 1, static_cast<double>(batch.count()),
        [&](std::size_t) { return affine(sum(nn::target_logprobs(*model, batch)), -1, 0); },
        {.lr = t.json["lr"][at], .max_grad_norm = t.json["clip_global_norm"]});
    const double loss = t.json["loss_f64"][at], norm = t.json["grad_norm_f64"][at];
    ASSERT_LE(std::abs(stats.loss - loss), loss_tolerance * std::max(1.0, loss)) << step;
    ASSERT_LE(std::abs(stats.grad_norm - norm), norm_tolerance * std::max(1.0, norm)) << step;
    if (step > 0) continue;
    for (const auto& [parameter, first] : t.json["after_step_1_first_8_values_f64"].items()) {
      for (const NamedParameter& p : model->parameters()) {
        if (p.name != parameter) continue;
        const std::vector<double> got = p.parameter->value.to_vector();
        for (std::size_t i = 0; i < first.size(); ++i) {
          EXPECT_NEAR(got[i], first[i].get<double>(), dtype == DType::f64 ? 1e-12 : 2e-6)
              << parameter;
        }
      }
    }
  }
  // The final weights are stored as f32, so their own rounding is part of the difference.
  const double weight_tolerance =
      dtype == DType::f64 ? 1e-6 : std::max(4 * gap("final_weight_max_abs"), 1e-5);
  for (const NamedParameter& p : model->parameters()) {
    const auto want = read_tensor(t.tensors.at("final." + p.name), DType::f64, name).to_vector();
    EXPECT_LE(max_abs_difference(p.parameter->value.to_vector(), want), weight_tolerance) << p.name;
  }
}

TEST_P(TrajectoryTest, F64) { run(GetParam(), DType::f64); }
TEST_P(TrajectoryTest, F32) { run(GetParam(), DType::f32); }

INSTANTIATE_TEST_SUITE_P(Models, TrajectoryTest, ::testing::Values("llama_plain", "qwen3"),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace r1::testing
