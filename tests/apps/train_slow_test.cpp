// A run killed anywhere ends as the run that was not: weights, moments, metrics.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "data/file.h"
#include "data/jsonl.h"
#include "tensor/error.h"
#include "tensor/random.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

constexpr int kSteps = 40;

fs::path scratch() {
  const fs::path p = fs::temp_directory_path() / fmt::format("r1-train-{}", ::getpid());
  fs::create_directories(p);
  return p;
}

void write_data(const fs::path& path) {
  const Random random(3, Purpose::test);
  std::ofstream f(path);
  for (std::uint32_t line = 0; line < 50; ++line) {
    f << "{\"ids\":[";
    for (std::uint32_t t = 0; t < 12 + line % 9; ++t) {
      f << (t ? "," : "") << random.below(97, line, t);
    }
    f << "]}\n";
  }
}

// Starts the trainer in the background.
pid_t start(const fs::path& data, const fs::path& out, int threads) {
  const std::string model = std::string(R1_GOLDEN_DIR) + "/models/llama_plain";
  const std::string steps = std::to_string(kSteps), t = std::to_string(threads);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::freopen("/dev/null", "w", stderr);
    ::execl(R1_PROGRAM, "r1", "sft", "--model", model.c_str(), "--data", data.c_str(), "--out",
            out.c_str(), "--train.steps", steps.c_str(), "--train.batch_size", "6", "--optim.lr",
            "1e-3", "--optim.schedule", "cosine", "--optim.warmup_steps", "3", "--seed", "9",
            "--checkpoint.every", "3", "--resume", "--threads", t.c_str(), nullptr);
    ::_exit(127);
  }
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  return status;
}

std::string bytes(const fs::path& path) {
  std::ifstream f(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(f), {}};
}

// All metrics but the times.
std::vector<nlohmann::json> metrics(const fs::path& run) {
  std::vector<nlohmann::json> lines;
  for (const JsonLine& line : read_jsonl((run / "metrics.jsonl").string())) {
    nlohmann::json value = line.value;
    value.erase("step_time");
    lines.push_back(value);
  }
  return lines;
}

void expect_same_run(const fs::path& a, const fs::path& b) {
  EXPECT_EQ(metrics(a), metrics(b));
  EXPECT_EQ(metrics(a).size(), static_cast<std::size_t>(kSteps));
  EXPECT_EQ(bytes(a / "model/model.safetensors"), bytes(b / "model/model.safetensors"));
  const char* last = "checkpoints/step-000040/trainer/optimizer.safetensors";
  EXPECT_FALSE(bytes(a / last).empty());
  EXPECT_EQ(bytes(a / last), bytes(b / last));
}

TEST(Train, KilledTwentyTimesEndsAsTheRunThatWasNot) {
  const fs::path folder = scratch();
  write_data(folder / "data.jsonl");
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(wait_for(start(folder / "data.jsonl", folder / "whole", 2)), 0);
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - begin;
  const Random random(17, Purpose::test);
  int killed = 0;
  for (std::uint32_t attempt = 0; killed < 20 && attempt < 200; ++attempt) {
    // Between nothing and the whole run; the thread count changes from try to try.
    const pid_t pid =
        start(folder / "data.jsonl", folder / "killed", 1 + static_cast<int>(attempt % 3));
    std::this_thread::sleep_for(whole * (0.5 * random.uniform(attempt)));
    ::kill(pid, SIGKILL);
    const int status = wait_for(pid);
    if (WIFSIGNALED(status)) ++killed;
    if (fs::exists(folder / "killed/model")) fs::remove_all(folder / "killed");
  }
  EXPECT_EQ(killed, 20);
  ASSERT_EQ(wait_for(start(folder / "data.jsonl", folder / "killed", 2)), 0);
  expect_same_run(folder / "whole", folder / "killed");
  fs::remove_all(folder);
}

TEST(Train, StoppedBySigtermSavesAndGoesOn) {
  const fs::path folder = scratch();
  write_data(folder / "data.jsonl");
  ASSERT_EQ(wait_for(start(folder / "data.jsonl", folder / "whole", 2)), 0);
  for (const int signal : {SIGTERM, SIGINT}) {
    const fs::path run = folder / fmt::format("stopped-{}", signal);
    const pid_t pid = start(folder / "data.jsonl", run, 2);
    while (!fs::exists(run / "metrics.jsonl") || fs::file_size(run / "metrics.jsonl") == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ::kill(pid, signal);
    const int status = wait_for(pid);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 128 + signal);
    EXPECT_FALSE(fs::exists(run / "model"));
    ASSERT_EQ(wait_for(start(folder / "data.jsonl", run, 2)), 0);
    expect_same_run(folder / "whole", run);
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace r1
