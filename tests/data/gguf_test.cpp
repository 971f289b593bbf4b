#include "data/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "data/gguf_quants.h"
#include "data/json.h"
#include "data/safetensors.h"
#include "tensor/error.h"

namespace r1 {
namespace {

const std::string kGolden = R1_GOLDEN_DIR;
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

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

// Builds files field by field, for what the golden files do not have.
class Writer {
 public:
  template <class T>
  Writer& put(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Writer& str(const std::string& s) {
    put<std::uint64_t>(s.size());
    text += s;
    return *this;
  }
  Writer& header(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
    text = "GGUF";
    return put(version).put(tensors).put(keys);
  }
  Writer& info(const std::string& name, const std::vector<std::uint64_t>& dims, std::uint32_t type,
               std::uint64_t offset) {
    str(name).put(static_cast<std::uint32_t>(dims.size()));
    for (const auto d : dims) put(d);
    return put(type).put(offset);
  }
  Writer& pad(std::size_t alignment = 32) {
    text.resize((text.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }
  Writer& zeros(std::size_t n) {
    text.append(n, '\0');
    return *this;
  }
  std::string refusal() const {
    return message_of([&] { GgufFile::parse(bytes_of(text), "f"); });
  }

  std::string text;
};

TEST(Gguf, AcceptsAndRefusesAsListed) {
  std::ifstream list(kGolden + "/bad/LIST.txt");
  std::string verdict, name, why;
  int seen = 0;
  while (list >> verdict >> name && std::getline(list, why)) {
    if (!name.ends_with(".gguf")) continue;
    ++seen;
    const auto message = message_of([&] { GgufFile::open(kGolden + "/bad/" + name); });
    EXPECT_EQ(message == "no error", verdict == "accept") << name << why << ": " << message;
    if (verdict == "refuse") {
      EXPECT_NE(message.find(name), std::string::npos) << message;
    }
  }
  EXPECT_EQ(seen, 27);
}

TEST(Gguf, ReadsEveryKindOfMetadata) {
  const auto file = GgufFile::open(kGolden + "/gguf/kv.gguf");
  const auto expected = json::read_file(kGolden + "/gguf/kv.json");
  std::size_t checked = 0;
  for (const auto& [key, entry] : expected.items()) {
    if (!entry.is_object()) continue;  // the tensor
    ++checked;
    const auto& value = entry["value"];
    const std::string type = entry["type"];
    const GgufEntry* e = file.entry(key);
    ASSERT_NE(e, nullptr) << key;
    if (type == "STRING") {
      EXPECT_EQ(file.get_string(key), value.get<std::string>());
    } else if (type == "BOOL") {
      EXPECT_EQ(file.get_bool(key), value.get<bool>());
    } else if (type == "UINT64") {
      EXPECT_EQ(std::get<std::uint64_t>(e->value), value.get<std::uint64_t>());
    } else if (type == "FLOAT32" || type == "FLOAT64") {
      EXPECT_EQ(file.get_number(key), value.get<double>());
    } else if (type != "ARRAY") {
      EXPECT_EQ(file.get_int(key, kMin, kMax), value.get<std::int64_t>()) << key;
    } else if (value[0].is_string()) {
      const auto strings = file.get_strings(key);
      EXPECT_EQ(std::vector<std::string>(strings.begin(), strings.end()),
                value.get<std::vector<std::string>>());
    } else if (value[0].is_number_integer()) {
      EXPECT_EQ(file.get_ints(key), value.get<std::vector<std::int64_t>>());
    } else if (value[0].is_number()) {
      EXPECT_EQ(file.get_numbers(key), value.get<std::vector<double>>());
    } else {
      const auto& numbers = std::get<GgufNumbers>(e->value);
      EXPECT_EQ(numbers.type, GgufValueType::boolean);
      EXPECT_EQ(numbers.count, value.size());
    }
  }
  EXPECT_EQ(checked, 19u);
  const GgufTensor& t = file.at("only.weight");
  EXPECT_EQ(t.shape, (Shape{2, 4}));
  const auto rows = expected["tensor only.weight"];
  const Tensor values = read_tensor(t, DType::f64, "f");
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_EQ(values.data<double>()[i], rows[i / 4][i % 4].get<double>());
}

TEST(Gguf, GettersNameFileAndKey) {
  const auto file = GgufFile::open(kGolden + "/gguf/kv.gguf");
  const std::string where = kGolden + "/gguf/kv.gguf";
  EXPECT_EQ(message_of([&] { file.get_int("t.string", 0, 1); }),
            where + ": t.string: expected an integer, got string");
  EXPECT_EQ(message_of([&] { file.get_int("t.u8", 0, 254); }),
            where + ": t.u8: 255 is outside 0 .. 254");
  EXPECT_NE(message_of([&] { file.get_int("t.u64", 0, kMax); }), "no error");
  EXPECT_EQ(message_of([&] { file.get_bool("t.u8"); }), where + ": t.u8: expected bool, got u8");
  EXPECT_EQ(message_of([&] { file.get_strings("t.array_i32"); }),
            where + ": t.array_i32: expected an array of strings, got array");
  EXPECT_EQ(message_of([&] { file.get_ints("t.array_string"); }),
            where + ": t.array_string: expected an array of numbers, got array");
  EXPECT_EQ(message_of([&] { file.get_string("none"); }),
            where + ": none: the metadata lacks this key");
  EXPECT_EQ(file.get_int_or("none", 5, 0, 9), 5);
  EXPECT_EQ(file.get_string_or("none", "d"), "d");
  EXPECT_EQ(file.get_number_or("none", 0.5), 0.5);
  EXPECT_TRUE(file.get_bool_or("none", true));
}

TEST(Gguf, AlignmentsAndVersion2) {
  const auto expected = SafetensorsFile::open(kGolden + "/gguf/align.safetensors");
  for (const char* name : {"align8.gguf", "align64.gguf", "v2.gguf"}) {
    const auto file = GgufFile::open(kGolden + "/gguf/" + name);
    EXPECT_EQ(file.version(), std::string(name) == "v2.gguf" ? 2 : 3);
    ASSERT_EQ(file.tensors().size(), expected.entries().size());
    for (const TensorEntry& e : expected.entries()) {
      const GgufTensor& t = file.at(e.name);
      EXPECT_EQ(t.shape, e.shape());
      ASSERT_EQ(t.bytes.size(), e.bytes.size());
      EXPECT_EQ(std::memcmp(t.bytes.data(), e.bytes.data(), e.bytes.size()), 0) << name;
    }
  }
}

TEST(Gguf, ABuiltFileIsAccepted) {
  Writer w;
  w.header(2, 1).str("general.alignment").put<std::uint32_t>(4).put<std::uint32_t>(8);
  w.info("a", {3}, 0, 0).info(std::string(63, 'b'), {}, 0, 16).pad(8).zeros(12).pad(8).zeros(4);
  EXPECT_EQ(w.refusal(), "no error");
  const auto file = GgufFile::parse(bytes_of(w.text), "f");
  EXPECT_EQ(file.at(std::string(63, 'b')).shape.rank(), 0);
  EXPECT_EQ(message_of([&] { file.at("c"); }), "f: no tensor named 'c'");
  Writer none;
  EXPECT_EQ(none.header(0, 0).refusal(), "no error");
}

TEST(Gguf, RefusesMoreThanTheList) {
  const auto with_key = [](std::uint32_t type) {
    Writer w;
    w.header(0, 1).str("k").put(type);
    return w;
  };
  const auto with_alignment = [](std::uint32_t alignment) {
    Writer w;
    w.header(1, 1).str("general.alignment").put<std::uint32_t>(4).put(alignment);
    w.info("a", {2}, 0, 0).pad(64).zeros(8);
    return w.refusal();
  };
  for (const std::uint32_t a : {0u, 1u, 4u, 24u, 0x80000001u})
    EXPECT_EQ(with_alignment(a),
              "f: general.alignment " + std::to_string(a) + " is not a power of two from 8 on");
  EXPECT_NE(with_alignment(0x80000000u), "no error");
  EXPECT_EQ(with_alignment(64), "no error");
  Writer big_endian;
  big_endian.header(0, 0, 0x03000000u);
  EXPECT_EQ(big_endian.refusal(), "f: a big-endian GGUF file is not supported");
  Writer version1;
  EXPECT_EQ(version1.header(0, 0, 1).refusal(), "f: GGUF version 1 is not supported (2 and 3 are)");

  Writer name64;
  name64.header(1, 0).info(std::string(64, 'a'), {2}, 0, 0).pad().zeros(8);
  EXPECT_NE(name64.refusal(), "no error");
  Writer long_text = with_key(8);
  long_text.str(std::string((1 << 20) + 1, 'x'));
  EXPECT_NE(long_text.refusal(), "no error");
  Writer bad_key;
  bad_key.header(0, 1).str("\xff").put<std::uint32_t>(0).put<std::uint8_t>(1);
  EXPECT_NE(bad_key.refusal(), "no error");
  Writer bools = with_key(9);
  bools.put<std::uint32_t>(7).put<std::uint64_t>(2).put<std::uint8_t>(1).put<std::uint8_t>(2);
  EXPECT_EQ(bools.refusal(), "f: k: a boolean has the value 2");
  Writer nested = with_key(9);
  nested.put<std::uint32_t>(9).put<std::uint64_t>(1).zeros(64);
  EXPECT_EQ(nested.refusal(), "f: k: an array of arrays is not supported");
  Writer type13 = with_key(9);
  type13.put<std::uint32_t>(13).put<std::uint64_t>(0);
  EXPECT_NE(type13.refusal(), "no error");
}

TEST(Gguf, RefusesUnreadableTypesByName) {
  const auto with_type = [](std::uint32_t type) {
    Writer w;
    w.header(1, 0).info("a", {256}, type, 0).pad().zeros(4096);
    return w.refusal();
  };
  EXPECT_EQ(with_type(16),
            "f: tensor 'a' has type IQ2_XXS (16), which cannot be read; readable: F32 F16 BF16 "
            "Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K");
  EXPECT_NE(with_type(39).find("MXFP4"), std::string::npos);
  EXPECT_NE(with_type(10).find("Q2_K"), std::string::npos);
  EXPECT_NE(with_type(4000000000u).find("unknown"), std::string::npos);
}

// Sizes that would wrap around 64 bits or be allocated before they are checked.
TEST(Gguf, HostileSizes) {
  const std::uint64_t huge[] = {std::uint64_t{1} << 61, std::uint64_t{1} << 62,
                                std::uint64_t{1} << 63, ~std::uint64_t{0},
                                ~std::uint64_t{31},     std::uint64_t{1} << 32};
  for (const std::uint64_t n : huge) {
    Writer dims, product, offset, strings, numbers, keys, tensors;
    dims.header(1, 0).info("a", {n}, 0, 0).pad().zeros(64);
    EXPECT_NE(dims.refusal(), "no error") << n;
    product.header(1, 0).info("a", {32, n, n, 32}, 2, 0).pad().zeros(64);
    EXPECT_NE(product.refusal(), "no error") << n;
    offset.header(1, 0).info("a", {2}, 0, n).pad().zeros(64);
    EXPECT_NE(offset.refusal(), "no error") << n;
    strings.header(0, 1).str("k").put<std::uint32_t>(9).put<std::uint32_t>(8).put(n).zeros(64);
    EXPECT_NE(strings.refusal(), "no error") << n;
    numbers.header(0, 1).str("k").put<std::uint32_t>(9).put<std::uint32_t>(10).put(n).zeros(64);
    EXPECT_NE(numbers.refusal(), "no error") << n;
    EXPECT_NE(keys.header(0, n).zeros(64).refusal(), "no error") << n;
    EXPECT_NE(tensors.header(n, 0).zeros(64).refusal(), "no error") << n;
  }
}

// Cut and damaged files are refused or read, never worse.
TEST(Gguf, DamageNeverCrashes) {
  for (const char* name : {"bad/ok.gguf", "gguf/kv.gguf", "gguf/quants.gguf"}) {
    const std::string good = slurp(kGolden + "/" + name);
    ASSERT_FALSE(good.empty());
    const auto original = GgufFile::parse(bytes_of(good), "f");
    std::size_t end = 0;  // of the last tensor: the padding behind it may be missing
    for (const auto& t : original.tensors())
      end = std::max(
          end, static_cast<std::size_t>(t.bytes.data() + t.bytes.size() - bytes_of(good).data()));
    const std::size_t step = good.size() / 1500 + 1;
    for (std::size_t n = 0; n < end; n += step)
      EXPECT_NE(message_of([&] { GgufFile::parse(bytes_of(good).first(n), "f"); }), "no error")
          << name << " " << n;
    std::mt19937 random(1);
    const std::size_t reach = std::min<std::size_t>(good.size(), 1200);
    for (int trial = 0; trial < 10000; ++trial) {
      std::string bad = good;
      const int flips = 1 + static_cast<int>(random() % 3);
      for (int i = 0; i < flips; ++i)
        bad[random() % reach] ^= static_cast<char>(1 << (random() % 8));
      message_of([&] {
        const auto file = GgufFile::parse(bytes_of(bad), "f");
        std::size_t total = 0;
        for (const auto& t : file.tensors()) {
          total += t.bytes.size();
          read_tensor(t, DType::f32, "f");
        }
        EXPECT_LT(total, bad.size());
      });
    }
  }
}

}  // namespace
}  // namespace r1
