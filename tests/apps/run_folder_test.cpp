// Run folders: what is created, refused, locked, cut and found again.
#include "apps/run_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tensor/error.h"
#include "tests/apps/program.h"

namespace r1::apps {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::read_all;
using test::TemporaryFolder;
using test::write_all;

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void make_checkpoint(const std::string& path) {
  fs::create_directories(path + "/trainer");
  write_all(path + "/config.json", "{}");
  write_all(path + "/model.safetensors", std::string(1000, 'w'));
  write_all(path + "/trainer/state.json", "{\"step\":1}");
  write_all(path + "/trainer/empty", "");
  write_manifest(path);
}

TEST(RunFolder, ANewOneIsCreatedWithItsParents) {
  const TemporaryFolder tmp;
  const std::string path = tmp.file("runs/a");
  {
    RunFolder run(path + "/", false);
    EXPECT_EQ(run.path(), path);
    EXPECT_EQ(run.checkpoint_path(40), path + "/checkpoints/step-000040");
    EXPECT_FALSE(run.newest_checkpoint().has_value());
    EXPECT_FALSE(run.finished());
    run.record_start("# options\n", 0);
  }
  EXPECT_EQ(read_all(path + "/config.toml"), "# options\n");
  const json env = json::parse(read_all(path + "/env.json"));
  EXPECT_EQ(env["starts"].size(), 1u);
  EXPECT_EQ(env["starts"][0]["resumed_from_step"], 0);
  EXPECT_TRUE(env.contains("instruction_set"));
}

TEST(RunFolder, AnExistingOneNeedsResume) {
  const TemporaryFolder tmp;
  const std::string path = tmp.file("run");
  std::string first;
  {
    RunFolder run(path, false);
    run.record_start("", 0);
    first = run.run_id();
  }
  EXPECT_TRUE(contains(message_of([&] { RunFolder again(path, false); }), "--resume"));
  RunFolder again(path, true);
  again.record_start("", 12);
  const json starts = json::parse(read_all(path + "/env.json"))["starts"];
  ASSERT_EQ(starts.size(), 2u);
  EXPECT_EQ(starts[0]["run_id"], first);
  EXPECT_EQ(starts[1]["run_id"], again.run_id());
  EXPECT_NE(first, again.run_id());
  EXPECT_EQ(starts[1]["resumed_from_step"], 12);
}

TEST(RunFolder, AStartThatRecordedNothingLeavesNothing) {
  const TemporaryFolder tmp;
  { RunFolder run(tmp.file("run"), false); }
  EXPECT_FALSE(fs::exists(tmp.file("run")));
  // With resume too: a scheduler gives the same command from the first start on.
  { RunFolder run(tmp.file("run"), true); }
  EXPECT_FALSE(fs::exists(tmp.file("run")));
  // But a folder that was there stays.
  fs::create_directory(tmp.file("mine"));
  { RunFolder run(tmp.file("mine"), false); }
  EXPECT_TRUE(fs::exists(tmp.file("mine")));
}

TEST(RunFolder, OtherFoldersAndFilesAreLeftAlone) {
  const TemporaryFolder tmp;
  fs::create_directory(tmp.file("home"));
  write_all(tmp.file("home/letter.txt"), "dear");
  for (const bool resume : {false, true}) {
    EXPECT_TRUE(contains(message_of([&] { RunFolder run(tmp.file("home"), resume); }),
                         "choose another --out"));
    EXPECT_TRUE(contains(message_of([&] { RunFolder run(tmp.file("home/letter.txt"), resume); }),
                         "is a file"));
    EXPECT_TRUE(contains(
        message_of([&] { RunFolder run(tmp.file("home/letter.txt/run"), resume); }), "cannot be"));
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(tmp.file("home")), fs::directory_iterator()), 1);
}

TEST(RunFolder, TwoTrainersCannotShareOne) {
  const TemporaryFolder tmp;
  RunFolder run(tmp.file("run"), false);
  run.record_start("", 0);
  EXPECT_TRUE(contains(message_of([&] { RunFolder other(tmp.file("run"), true); }),
                       "another r1 is training"));
  EXPECT_TRUE(fs::exists(tmp.file("run/env.json")));
}

TEST(RunFolder, MetricsAreCutAfterTheCheckpoint) {
  const TemporaryFolder tmp;
  const std::string path = tmp.file("run/metrics.jsonl");
  const std::string lines[] = {"{\"step\":1,\"loss\":2.5}\n", "{\"step\":2,\"loss\":2.25}\n",
                               "{\"step\":3,\"loss\":2.0}\n"};
  const std::string all = lines[0] + lines[1] + lines[2];
  struct Case {
    std::string before;
    std::int64_t step;
    std::string kept;
  };
  const Case cases[] = {
      {all, 3, all},
      {all, 2, lines[0] + lines[1]},
      {all, 0, ""},
      {all + "{\"step\":4,\"lo", 3, all},
      {all + "{\"step\":4,\"lo", 1, lines[0]},
      {all + std::string(100, '\0'), 3, all},     // a power cut
      {all + "{\"step\":4,\"loss\":1}", 3, all},  // whole but for its newline
      {lines[0] + "{\"step\":2}", 2, lines[0] + "{\"step\":2}\n"},
      {"", 0, ""},
      {"{\"st", 0, ""},
  };
  RunFolder run(tmp.file("run"), false);
  for (const Case& c : cases) {
    write_all(path, c.before);
    run.open_metrics(c.step)->write_line("{\"step\":9}");
    EXPECT_EQ(read_all(path), c.kept + "{\"step\":9}\n") << c.before << " after " << c.step;
  }
  write_all(path, lines[0] + "nonsense\n" + lines[1]);
  EXPECT_TRUE(contains(message_of([&] { run.open_metrics(2); }), "metrics.jsonl:2"));
  EXPECT_EQ(read_all(path), lines[0] + "nonsense\n" + lines[1]);
  fs::remove(path);
  run.open_metrics(0)->write_line("{}");
  EXPECT_EQ(read_all(path), "{}\n");
}

TEST(RunFolder, TheNewestWholeCheckpoint) {
  const TemporaryFolder tmp;
  RunFolder run(tmp.file("run"), false);
  for (const std::int64_t step : {5, 100, 20}) make_checkpoint(run.checkpoint_path(step));
  fs::copy(run.checkpoint_path(100), run.checkpoint_path(200) + ".tmp-12-3456",
           fs::copy_options::recursive);
  fs::copy(run.checkpoint_path(100), tmp.file("run/checkpoints/step-x"),
           fs::copy_options::recursive);
  fs::create_directory(run.checkpoint_path(300));  // nothing in it
  std::vector<std::int64_t> steps;
  for (const Checkpoint& c : list_checkpoints(run.path())) steps.push_back(c.step);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{300, 100, 20, 5}));
  EXPECT_EQ(run.newest_checkpoint()->step, 100);

  const std::string weights = run.checkpoint_path(100) + "/model.safetensors";
  write_all(weights, std::string(999, 'w') + "v");  // one bit of one byte
  EXPECT_EQ(run.newest_checkpoint()->step, 20);
  EXPECT_TRUE(contains(message_of([&] { check_manifest(run.checkpoint_path(100)); }), "changed"));
  write_all(weights, std::string(999, 'w'));
  EXPECT_TRUE(contains(message_of([&] { check_manifest(run.checkpoint_path(100)); }),
                       "999 bytes, was written with 1000"));
  fs::remove(run.checkpoint_path(20) + "/trainer/empty");
  EXPECT_EQ(run.newest_checkpoint()->step, 5);
  write_all(run.checkpoint_path(5) + "/trainer/manifest.json", "{\"files\":{");
  EXPECT_FALSE(run.newest_checkpoint().has_value());
}

TEST(RunFolder, AManifestSpeaksOfItsOwnFolderOnly) {
  const TemporaryFolder tmp;
  make_checkpoint(tmp.file("c"));
  for (const char* name : {"../c/config.json", "/etc/passwd", "trainer/../../x"}) {
    const json manifest = {{"files", {{name, {{"bytes", 1}, {"xxh64", ""}}}}}};
    write_all(tmp.file("c/trainer/manifest.json"), manifest.dump());
    EXPECT_TRUE(contains(message_of([&] { check_manifest(tmp.file("c")); }), "outside")) << name;
  }
}

TEST(RunFolder, PathsOfModels) {
  const TemporaryFolder tmp;
  fs::create_directory(tmp.file("hf"));
  write_all(tmp.file("hf/config.json"), "{}");
  write_all(tmp.file("m.gguf"), "GGUF");
  write_all(tmp.file("m.txt"), "");
  fs::create_directory(tmp.file("empty"));
  EXPECT_EQ(resolve_model_path(tmp.file("hf")), tmp.file("hf"));
  EXPECT_EQ(resolve_model_path(tmp.file("hf//")), tmp.file("hf"));
  EXPECT_EQ(resolve_model_path(tmp.file("m.gguf")), tmp.file("m.gguf"));
  for (const char* name : {"m.txt", "empty", "missing"})
    EXPECT_TRUE(contains(message_of([&] { resolve_model_path(tmp.file(name)); }), "expected"))
        << name;

  RunFolder run(tmp.file("run"), false);
  EXPECT_TRUE(contains(message_of([&] { resolve_model_path(run.path()); }), "no checkpoint yet"));
  make_checkpoint(run.checkpoint_path(7));
  EXPECT_EQ(resolve_model_path(run.path()), run.checkpoint_path(7));
  fs::create_directory(run.model_path());
  write_all(run.model_path() + "/config.json", "{}");
  EXPECT_EQ(resolve_model_path(run.path()), run.model_path());
  EXPECT_TRUE(run.finished());
}

TEST(Manifest, HashesAreThoseOfXxhsum) {
  // `xxh64sum` of the first n bytes of 0, 1, 2, ..., 255.
  struct Case {
    std::size_t bytes;
    std::uint64_t hash;
  };
  const Case cases[] = {
      {0, 0xEF46DB3751D8E999u},   {1, 0xE934A84ADB052768u},   {3, 0xE5C7BB4533BC65DDu},
      {4, 0xFFCED8604453CC1Eu},   {7, 0x14CC643F630C72D2u},   {8, 0x884A173614B81B8Du},
      {15, 0xA948F5F0F6ABAC2Du},  {31, 0xC346D2B59B4D8EE1u},  {32, 0xCBF59C5116FF32B4u},
      {33, 0x0C535D1ACAFB8EADu},  {63, 0xE26AA9E2A95F8E4Fu},  {64, 0xF7C67301DB6713F0u},
      {100, 0x6AC1E58032166597u}, {256, 0x1FACBE8406CD904Bu},
  };
  std::vector<std::byte> bytes(256);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  for (const Case& c : cases) EXPECT_EQ(xxh64(std::span(bytes).first(c.bytes)), c.hash) << c.bytes;
}

}  // namespace
}  // namespace r1::apps
