// `r1 inspect` on the reference models, on lone files, and on damaged ones.
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/apps/program.h"

namespace r1::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const std::string kGolden = R1_GOLDEN_DIR;

json inspect(const std::string& path) {
  const Outcome outcome = run({"inspect", path, "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return json::parse(outcome.out);
}

// A file of one tensor "x", `bytes` of zeros.
std::string safetensors(const std::string& name, const std::string& dtype, const std::string& shape,
                        std::size_t bytes) {
  const std::string header = "{\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
                             ",\"data_offsets\":[0," + std::to_string(bytes) + "]}}";
  const std::uint64_t n = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &n, 8);
  return file + header + std::string(bytes, '\0');
}

TEST(Inspect, AModelFolder) {
  const json x = inspect(kGolden + "/models/qwen2");
  EXPECT_EQ(x["config"]["model_type"], "qwen2");
  EXPECT_EQ(x["config"]["num_hidden_layers"], 2);
  EXPECT_EQ(x["config"]["tie_word_embeddings"], true);
  EXPECT_EQ(x["problems"], json::array());
  // The counts of the parts add up, and to the elements of the tensors.
  const json& p = x["parameters"];
  const auto part = [&](const char* name) { return p[name].get<std::int64_t>(); };
  EXPECT_EQ(part("total"), 38320);
  EXPECT_EQ(part("embedding"), 150 * 48);
  EXPECT_EQ(part("head"), 0);
  EXPECT_EQ(part("norms"), 5 * 48);
  EXPECT_EQ(part("total"), part("embedding") + part("attention") + part("feed_forward") +
                               part("norms") + part("head"));
  std::int64_t elements = 0, bytes = 0;
  for (const json& t : x["tensors"]) {
    std::int64_t n = 1;
    for (const json& d : t["shape"]) n *= d.get<std::int64_t>();
    EXPECT_EQ(t["dtype"], "F32");
    EXPECT_EQ(t["bytes"].get<std::int64_t>(), 4 * n);
    elements += n;
    bytes += t["bytes"].get<std::int64_t>();
  }
  EXPECT_EQ(elements, part("total"));

  const Outcome text = run({"inspect", kGolden + "/models/qwen2"});
  EXPECT_EQ(text.code, 0);
  EXPECT_EQ(text.err, "");
  for (const char* words : {"qwen2: 2 layers", "6 query heads, 2 key/value heads of 8", "38,320",
                            "model.layers.1.self_attn.k_proj.bias", "(150, 48)", "28,800"})
    EXPECT_NE(text.out.find(words), std::string::npos) << words;
}

TEST(Inspect, AGgufModelHasTheCountsOfItsFolder) {
  const json gguf = inspect(kGolden + "/gguf/llama3_rope.gguf");
  const json folder = inspect(kGolden + "/models/llama3_rope");
  EXPECT_EQ(gguf["parameters"], folder["parameters"]);
  EXPECT_EQ(gguf["parameters"]["head"], 137 * 48);
  EXPECT_EQ(gguf["problems"], json::array());
  EXPECT_EQ(gguf["config"]["rope_type"], "llama3");
  EXPECT_EQ(gguf["metadata"]["general.architecture"], "llama");
  EXPECT_EQ(gguf["metadata"]["tokenizer.ggml.tokens"], "[137 strings]");
}

TEST(Inspect, LoneFilesNeedNotBeModels) {
  const json gguf = inspect(kGolden + "/gguf/quants.gguf");
  EXPECT_TRUE(gguf["config"].is_null());
  EXPECT_FALSE(gguf.contains("parameters"));
  EXPECT_EQ(gguf["tensors"].size(), 13u);
  const json file = inspect(kGolden + "/gguf/align.safetensors");
  EXPECT_TRUE(file["config"].is_null());
  EXPECT_EQ(file["metadata"], json::parse(R"({"format":"pt"})"));
  EXPECT_EQ(file["tensors"][0],
            json::parse(R"({"name":"a","dtype":"F32","shape":[3],"bytes":12})"));
}

TEST(Inspect, MetadataOfEveryType) {
  const json want = json::parse(read_all(kGolden + "/gguf/kv.json"));
  const json got = inspect(kGolden + "/gguf/kv.gguf")["metadata"];
  int compared = 0;
  for (const auto& [key, entry] : want.items()) {
    if (!entry.is_object()) continue;  // the table of tensors
    EXPECT_EQ(got[key], entry["value"]) << key;
    ++compared;
  }
  EXPECT_EQ(compared, static_cast<int>(got.size()));
  EXPECT_GT(compared, 15);
}

TEST(Inspect, AConfigurationWithoutWeights) {
  const TemporaryFolder folder;
  fs::copy(kGolden + "/models/qwen3/config.json", folder.file("config.json"));
  for (const std::string& path : {folder.path(), folder.path() + "/", folder.file("config.json")}) {
    const json x = inspect(path);
    EXPECT_EQ(x["parameters"]["total"], 46720);
    EXPECT_EQ(x["tensors"], json::array());
    EXPECT_EQ(x["problems"], json::array());
  }
}

TEST(Inspect, ARunFolderStandsForItsModel) {
  const TemporaryFolder folder;
  fs::create_directories(folder.file("checkpoints"));
  fs::copy(kGolden + "/models/qwen3", folder.file("model"), fs::copy_options::recursive);
  const json x = inspect(folder.path());
  EXPECT_EQ(x["path"], folder.file("model"));
  EXPECT_EQ(x["parameters"]["total"], 46720);
}

TEST(Inspect, TensorsThatDoNotFitTheConfiguration) {
  const TemporaryFolder folder;
  fs::copy(kGolden + "/models/qwen3/config.json", folder.file("config.json"));
  write_all(folder.file("model.safetensors"), safetensors("model.norm.weight", "F32", "[47]", 188));
  const Outcome outcome = run({"inspect", folder.path(), "--json"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(outcome.one_line()) << outcome.err;
  EXPECT_NE(outcome.err.find("24 tensors do not fit the configuration"), std::string::npos)
      << outcome.err;
  const json problems = json::parse(outcome.out)["problems"];
  EXPECT_NE(std::find(problems.begin(), problems.end(),
                      "model.norm.weight: shape (47), the configuration says (48)"),
            problems.end());
}

TEST(Inspect, NothingInAFileReachesTheTerminalAsItIs) {
  const TemporaryFolder folder;
  write_all(folder.file("x.safetensors"), safetensors("a\\u001b[31mb", "F64", "[1]", 8));
  const Outcome outcome = run({"inspect", folder.file("x.safetensors")});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out.find('\033'), std::string::npos);
  EXPECT_EQ(inspect(folder.file("x.safetensors"))["tensors"][0]["name"], "a\033[31mb");
}

TEST(Inspect, DamagedFilesAreRefusedInOneLine) {
  int refused = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kGolden + "/bad")) {
    const std::string name = entry.path().filename().string();
    if (name == "LIST.txt") continue;
    const Outcome outcome = run({"inspect", entry.path().string(), "--json"});
    if (name.rfind("ok.", 0) == 0) {
      EXPECT_EQ(outcome.code, 0) << outcome.err;
      EXPECT_TRUE(json::accept(outcome.out)) << name;
      continue;
    }
    EXPECT_EQ(outcome.code, 1) << name;
    EXPECT_EQ(outcome.out, "") << name;
    EXPECT_TRUE(outcome.one_line()) << name << ": " << outcome.err;
    EXPECT_NE(outcome.err.find(name), std::string::npos) << outcome.err;
    ++refused;
  }
  EXPECT_GT(refused, 40);
}

TEST(Inspect, WhatIsNoModel) {
  const TemporaryFolder folder;
  write_all(folder.file("notes.txt"), "hello");
  write_all(folder.file("config.json"), "[]");
  fs::create_directory(folder.file("empty"));
  for (const std::string& path :
       {folder.file("missing"), folder.file("notes.txt"), folder.file("config.json"),
        folder.file("empty"), folder.path()}) {
    const Outcome outcome = run({"inspect", path});
    EXPECT_EQ(outcome.code, 1) << path;
    EXPECT_EQ(outcome.out, "") << path;
    EXPECT_TRUE(outcome.one_line()) << outcome.err;
  }
}

}  // namespace
}  // namespace r1::test
