#include "data/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>

#include "data/half.h"
#include "tensor/error.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;
const std::string kGolden = R1_GOLDEN_DIR;

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  return "no error";
}

std::string slurp(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

std::span<const std::byte> bytes_of(const std::string& s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}

std::string file_with(const std::string& header, const std::string& buffer) {
  const std::uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + header + buffer;
}

std::string refusal(const std::string& header, const std::string& buffer) {
  return message_of([&] { SafetensorsFile::parse(bytes_of(file_with(header, buffer)), "f"); });
}

class SafetensorsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "r1_safetensors_test_" + std::to_string(::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
};

TEST_F(SafetensorsTest, WritesTheKnown72Bytes) {
  const std::vector<float> w = {1, 2};
  write_safetensors(path("w"), {entry_of("w", Tensor::from(w, {2}))}, {});
  const std::string header = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  ";
  EXPECT_EQ(slurp(path("w")),
            file_with(header, std::string("\x00\x00\x80\x3f\x00\x00\x00\x40", 8)));
  EXPECT_EQ(fs::file_size(path("w")), 72u);
}

// The list of corrupt files: one word, one name and one reason a line.
TEST_F(SafetensorsTest, AcceptsAndRefusesAsListed) {
  std::ifstream list(kGolden + "/bad/LIST.txt");
  std::string verdict, name, why;
  int seen = 0;
  while (list >> verdict >> name && std::getline(list, why)) {
    if (!name.ends_with(".safetensors")) continue;
    ++seen;
    const auto message = message_of([&] { SafetensorsFile::open(kGolden + "/bad/" + name); });
    EXPECT_EQ(message == "no error", verdict == "accept") << name << why << ": " << message;
    if (verdict == "refuse") {
      EXPECT_NE(message.find(name), std::string::npos) << message;
    }
  }
  EXPECT_EQ(seen, 27);
}

TEST_F(SafetensorsTest, SaysWhatIsWrong) {
  const std::string b8(8, '\0');
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", b8),
            "f: 4 bytes after the last tensor");
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", b8),
            "f: tensor 'a' of F32 (3) needs 12 bytes but has 8");
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", b8),
            "f: tensor 'a' of F32 (1) needs 4 bytes but has 8");
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", b8),
            "f: tensor 'a' begins at byte 4 of the buffer, expected 0: a hole");
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,8]}}", b8),
            "f: line 1, column 18: dtype 'F4' is not supported; known: BOOL U8 I8 F8_E5M2 F8_E4M3 "
            "I16 U16 F16 BF16 I32 U32 F32 F64 I64 U64");
  EXPECT_EQ(refusal("{\"a\":{\"shape\":[2,-1],\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", b8),
            "f: line 1, column 19: tensor 'a': negative number in its shape");
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", b8),
            "f: line 1, column 32: tensor 'a' lacks dtype, shape or data_offsets");
}

TEST_F(SafetensorsTest, RefusesMoreThanTheList) {
  const std::string b8(8, '\0');
  const char* const kBad[] = {
      " {\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}x",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}\xff",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}",
      "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[true],\"data_offsets\":[0,8]}}",
      "{\"a\":{\"dtype\":null,\"shape\":[2],\"data_offsets\":[0,8]}}",
      "{\"a\":[0,8]}",
      "{\"a\":1}",
      "{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
      "{\"__metadata__\":{},\"__metadata__\":{},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
      "{\"__metadata__\":{\"a\":{}},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
      "{}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]},"
      "\"b\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]}}"};
  for (const char* header : kBad) EXPECT_NE(refusal(header, b8), "no error") << header;
  EXPECT_EQ(refusal("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", b8),
            "no error");
  EXPECT_EQ(refusal("{}", ""), "no error");
}

TEST_F(SafetensorsTest, EmptyAndScalarTensorsAreLegal) {
  const std::string header =
      "{\"e\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[0,0]},"
      "\"s\":{\"shape\":[],\"data_offsets\":[0,8],\"dtype\":\"F64\"},"
      "\"t\":{\"dtype\":\"I8\",\"shape\":[1,1,1,1,1,0],\"data_offsets\":[8,8]}}";
  const double pi = 3.25;
  const std::string text =
      file_with(header, std::string(reinterpret_cast<const char*>(&pi), sizeof(pi)));
  const auto file = SafetensorsFile::parse(bytes_of(text), "f");
  EXPECT_EQ(file.at("e").shape(), (Shape{0, 7}));
  EXPECT_EQ(read_tensor(file.at("s"), DType::f32, "f").item(), 3.25);
  EXPECT_EQ(read_tensor(file.at("e"), DType::f32, "f").numel(), 0);
  EXPECT_NE(message_of([&] { file.at("t").shape(); }), "no error");
  EXPECT_EQ(message_of([&] { file.at("x"); }), "f: no tensor named 'x'");
}

template <class T>
TensorEntry raw_entry(const std::string& name, FileDType dtype, const std::vector<T>& values) {
  TensorEntry e{.name = name, .dtype = dtype, .dims = {values.size()}, .bytes = {}};
  e.bytes = {reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(T)};
  return e;
}

TEST_F(SafetensorsTest, ConvertsEveryDType) {
  const auto values = [](const TensorEntry& e, DType dtype) {
    return read_tensor(e, dtype, "f").to_vector();
  };
  using V = std::vector<double>;
  const std::vector<double> f64 = {1.0, -2.5, 1.0 + 0x1p-52, 1e300};
  EXPECT_EQ(values(raw_entry("t", FileDType::f64, f64), DType::f64), f64);
  EXPECT_EQ(values(raw_entry("t", FileDType::f64, f64), DType::f32), (V{1, -2.5, 1, HUGE_VAL}));
  const std::vector<std::uint16_t> f16 = {0x3c00, 0xc100, 0x0001, 0x7bff};
  EXPECT_EQ(values(raw_entry("t", FileDType::f16, f16), DType::f32), (V{1, -2.5, 0x1p-24, 65504}));
  const std::vector<std::uint16_t> bf = {0x3f80, 0xc020, 0x3f81};
  for (const DType t : {DType::f32, DType::f64, DType::bf16})
    EXPECT_EQ(values(raw_entry("t", FileDType::bf16, bf), t), (V{1, -2.5, 1.0078125}));
  const std::vector<float> f32 = {1.0f, 1.00390625f, 1.01171875f};  // the last two are ties in bf16
  EXPECT_EQ(values(raw_entry("t", FileDType::f32, f32), DType::bf16), (V{1, 1, 1.015625}));
  const std::vector<std::int64_t> i64 = {0, -5, 2147483647, -2147483648};
  EXPECT_EQ(values(raw_entry("t", FileDType::i64, i64), DType::i32),
            (V{0, -5, 2147483647, -2147483648.0}));
  const std::vector<std::uint8_t> u8 = {0, 7, 255};
  EXPECT_EQ(values(raw_entry("t", FileDType::u8, u8), DType::i32), (V{0, 7, 255}));
  EXPECT_EQ(values(raw_entry("t", FileDType::i8, u8), DType::f32), (V{0, 7, -1}));
  EXPECT_EQ(values(raw_entry("t", FileDType::boolean, u8), DType::f32), (V{0, 1, 1}));
  const std::vector<std::int16_t> i16 = {-3, 300};
  EXPECT_EQ(values(raw_entry("t", FileDType::i16, i16), DType::f64), (V{-3, 300}));
  const std::vector<std::uint64_t> u64 = {3, std::uint64_t{1} << 40};
  EXPECT_EQ(values(raw_entry("t", FileDType::u64, u64), DType::f64), (V{3, 1099511627776.0}));
  // 1.0, the largest, the smallest, -2^-6 (the smallest normal) of the two 8-bit types.
  const std::vector<std::uint8_t> e4m3 = {0x38, 0x7e, 0x01, 0x88};
  EXPECT_EQ(values(raw_entry("t", FileDType::f8_e4m3, e4m3), DType::f32),
            (V{1, 448, 0x1p-9, -0x1p-6}));
  const std::vector<std::uint8_t> e5m2 = {0x3c, 0x7b, 0x01, 0x84};
  EXPECT_EQ(values(raw_entry("t", FileDType::f8_e5m2, e5m2), DType::f32),
            (V{1, 57344, 0x1p-16, -0x1p-14}));

  const std::vector<std::int64_t> wide = {std::int64_t{1} << 31};
  EXPECT_EQ(message_of([&] { values(raw_entry("t", FileDType::i64, wide), DType::i32); }),
            "f: tensor 't': 2147483648 does not fit i32");
  EXPECT_EQ(message_of([&] { values(raw_entry("t", FileDType::f32, f32), DType::i32); }),
            "f: tensor 't' of F32 (3) cannot become i32");
  Tensor out = Tensor::zeros({2}, DType::f32);
  EXPECT_EQ(message_of([&] { read_tensor(raw_entry("t", FileDType::f32, f32), out, "f"); }),
            "f: tensor 't' of F32 (3) does not fill a tensor of shape (2)");
}

TEST_F(SafetensorsTest, ConvertsUnalignedAndLongTensors) {
  const std::size_t n = 200001;
  std::string data(1, 'x');
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint16_t half = f32_to_f16(static_cast<float>(i % 2048));
    data.append(reinterpret_cast<const char*>(&half), 2);
  }
  TensorEntry e{.name = "t", .dtype = FileDType::f16, .dims = {n}, .bytes = {}};
  e.bytes = bytes_of(data).subspan(1);
  const Tensor t = read_tensor(e, DType::f32, "f");
  for (std::size_t i = 0; i < n; ++i)
    ASSERT_EQ(t.data<float>()[i], static_cast<float>(i % 2048)) << i;
}

TEST_F(SafetensorsTest, SortsAsTheReferenceWriterDoes) {
  const std::vector<std::uint8_t> raw(16, 1);
  const auto make = [&](const std::string& name, FileDType dtype) {
    TensorEntry e{.name = name, .dtype = dtype, .dims = {16 / size_of(dtype)}, .bytes = {}};
    e.bytes = {reinterpret_cast<const std::byte*>(raw.data()), raw.size()};
    return e;
  };
  write_safetensors(
      path("s"),
      {make("b", FileDType::f32), make("a", FileDType::f32), make("z", FileDType::i64),
       make("y", FileDType::f64), make("c", FileDType::bf16), make("B", FileDType::f32),
       make("d", FileDType::f16), make("u", FileDType::u8)},
      {{"k\n\"", "ü\x7f"}, {"a", ""}});
  const auto file = SafetensorsFile::open(path("s"));
  std::string order;
  for (const auto& e : file.entries()) order += e.name;
  EXPECT_EQ(order, "zyBabcdu");
  EXPECT_EQ(file.metadata(), (Metadata{{"k\n\"", "ü\x7f"}, {"a", ""}}));
}

TEST_F(SafetensorsTest, WriterRefusesWhatTheReaderWould) {
  const std::vector<float> w = {1, 2};
  const Tensor t = Tensor::from(w, {2});
  EXPECT_EQ(message_of([&] {
              write_safetensors(path("w"), {entry_of("w", t), entry_of("w", t)});
            }),
            "cannot write " + path("w") + ": tensor 'w' is given twice");
  EXPECT_NE(message_of([&] { write_safetensors(path("w"), {entry_of("\xff", t)}); }), "no error");
  EXPECT_NE(message_of([&] { write_safetensors(path("w"), {entry_of("__metadata__", t)}); }),
            "no error");
  TensorEntry wrong = entry_of("w", t);
  wrong.dims = {3};
  EXPECT_NE(message_of([&] { write_safetensors(path("w"), {wrong}); }), "no error");
  EXPECT_TRUE(fs::is_empty(folder_));
}

// Every model file of the reference, written again from what was read.
TEST_F(SafetensorsTest, ReproducesReferenceFilesByteForByte) {
  std::vector<std::string> files;
  for (const char* root : {R1_GOLDEN_DIR, R1_SHARED_DIR "/golden"}) {
    if (!fs::exists(root)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (entry.path().extension() == ".safetensors" &&
          entry.path().parent_path().filename() != "bad")
        files.push_back(entry.path().string());
    }
  }
  ASSERT_FALSE(files.empty());
  for (const std::string& name : files) {
    const auto file = SafetensorsFile::open(name);
    write_safetensors(path("again"), file.entries(), file.metadata());
    EXPECT_TRUE(slurp(name) == slurp(path("again"))) << name;
  }
}

TEST_F(SafetensorsTest, FoldersOfShards) {
  std::vector<Tensor> tensors;
  std::vector<TensorEntry> entries;
  for (int i = 0; i < 7; ++i) {
    const std::vector<float> values(static_cast<std::size_t>(10 + i), static_cast<float>(i));
    tensors.push_back(Tensor::from(values, {10 + i}));
    entries.push_back(entry_of("t" + std::to_string(i), tensors.back()));
  }
  write_safetensors_folder(folder_, entries, 100);
  EXPECT_FALSE(fs::exists(path("model.safetensors")));
  EXPECT_TRUE(fs::exists(path("model-00005-of-00005.safetensors")));
  const auto folder = SafetensorsFolder::open(folder_);
  EXPECT_EQ(folder.size(), 7u);
  EXPECT_EQ(folder.entries().size(), 7u);
  for (const auto& file : folder.files()) {
    std::uint64_t bytes = 0;
    for (const auto& e : file.entries()) bytes += e.bytes.size();
    EXPECT_LE(bytes, 100u);
  }
  for (int i = 0; i < 7; ++i) {
    const Tensor t = read_tensor(folder.at("t" + std::to_string(i)), DType::f32, "f");
    EXPECT_EQ(t.to_vector(), tensors[static_cast<std::size_t>(i)].to_vector());
  }
  EXPECT_EQ(slurp(path("model.safetensors.index.json")).substr(0, 83),
            "{\n  \"metadata\": {\n    \"total_parameters\": 91,\n    \"total_size\": 364\n  },\n"
            "  \"weight_");
  fs::remove_all(folder_);
  fs::create_directories(folder_);
  write_safetensors_folder(folder_, entries);
  EXPECT_TRUE(fs::exists(path("model.safetensors")));
  EXPECT_EQ(SafetensorsFolder::open(folder_).size(), 7u);
  EXPECT_EQ(SafetensorsFolder::open(path("model.safetensors")).size(), 7u);
}

TEST_F(SafetensorsTest, IndexMustAgreeWithTheShards) {
  const std::vector<float> w = {1, 2};
  const Tensor t = Tensor::from(w, {2});
  write_safetensors(path("x.safetensors"), {entry_of("a", t), entry_of("b", t)});
  write_safetensors(path("y.safetensors"), {entry_of("c", t)});
  write_safetensors(path("z.safetensors"), {entry_of("c", t), entry_of("d", t)});
  const std::string index = path("model.safetensors.index.json");
  const auto open_with = [&](const std::string& map) {
    write_file_atomically(index, "{\"weight_map\":{" + map + "}}");
    return message_of([&] { SafetensorsFolder::open(folder_); });
  };
  const std::string ab = "\"a\":\"x.safetensors\",\"b\":\"x.safetensors\"";
  EXPECT_EQ(open_with(ab), "no error");
  EXPECT_EQ(open_with(ab + ",\"c\":\"w.safetensors\""),
            index + ": shard w.safetensors is missing in the folder");
  EXPECT_EQ(open_with(ab + ",\"d\":\"x.safetensors\""),
            index + ": tensor 'd' is not in shard x.safetensors");
  EXPECT_EQ(open_with("\"a\":\"x.safetensors\""),
            index + ": tensor 'b' is in shard x.safetensors but not in weight_map");
  EXPECT_EQ(open_with(ab + ",\"c\":\"y.safetensors\",\"d\":\"z.safetensors\""),
            index + ": tensor 'c' is in shard z.safetensors but weight_map says y.safetensors");
  for (const char* name :
       {"../x.safetensors", "/etc/x.safetensors", "s/x.safetensors", "", ".safetensors", "..",
        "x.bin", "a\\\\x.safetensors", "a\\nx.safetensors"})
    EXPECT_NE(open_with("\"a\":\"" + std::string(name) + "\"").find("is not the plain name"),
              std::string::npos)
        << name;
  EXPECT_EQ(open_with("\"a\":1"), index + ": weight_map: a: expected string, got integer");
  fs::remove(index);
  EXPECT_EQ(message_of([&] { SafetensorsFolder::open(folder_); }),
            folder_ +
                ": neither model.safetensors nor model.safetensors.index.json is in this "
                "folder");
}

// Cut and damaged files are refused or read, never worse; what is accepted can be written again.
TEST_F(SafetensorsTest, DamageNeverCrashes) {
  const std::string good = slurp(kGolden + "/bad/ok.safetensors");
  ASSERT_FALSE(good.empty());
  for (std::size_t n = 0; n < good.size(); ++n)
    EXPECT_NE(message_of([&] { SafetensorsFile::parse(bytes_of(good).first(n), "f"); }),
              "no error");
  std::mt19937 random(1);
  for (int trial = 0; trial < 20000; ++trial) {
    std::string bad = good;
    const int flips = 1 + static_cast<int>(random() % 3);
    for (int i = 0; i < flips; ++i)
      bad[random() % bad.size()] ^= static_cast<char>(1 << (random() % 8));
    message_of([&] {
      const auto file = SafetensorsFile::parse(bytes_of(bad), "f");
      std::size_t total = 0;
      for (const auto& e : file.entries()) {
        total += e.bytes.size();
        if (e.dims.size() <= 4) read_tensor(e, DType::f64, "f");
      }
      EXPECT_LT(total, bad.size());
    });
  }
}

}  // namespace
}  // namespace r1
