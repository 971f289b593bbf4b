#include "data/gguf_quants.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <numeric>

#include "data/safetensors.h"
#include "tensor/error.h"
#include "tensor/parallel.h"

namespace r1 {
namespace {

const std::string kGolden = R1_GOLDEN_DIR;

// Every type, to the bit, against ggml's own numbers; in f64 the same numbers.
TEST(GgufQuants, EqualTheReferenceToTheBit) {
  const auto file = GgufFile::open(kGolden + "/gguf/quants.gguf");
  const auto expected = SafetensorsFile::open(kGolden + "/gguf/quants.safetensors");
  std::size_t types = 0;
  GgmlType last = GgmlType::f32;
  for (const GgufTensor& t : file.tensors()) {
    types += t.type != last;
    last = t.type;
    const TensorEntry& e = expected.at(t.name);
    ASSERT_EQ(t.shape, e.shape()) << t.name;
    const Tensor values = read_tensor(t, DType::f32, file.where());
    ASSERT_EQ(values.bytes(), e.bytes.size());
    EXPECT_EQ(std::memcmp(values.raw(), e.bytes.data(), e.bytes.size()), 0) << t.name;
    const Tensor wide = read_tensor(t, DType::f64, file.where());
    const Tensor brain = read_tensor(t, DType::bf16, file.where());
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      ASSERT_EQ(wide.data<double>()[i], static_cast<double>(values.data<float>()[i])) << t.name;
      ASSERT_EQ(brain.data<bf16>()[i].bits, bf16(values.data<float>()[i]).bits) << t.name;
    }
  }
  EXPECT_GE(types, 10u);
}

// Many tasks give what one gives.
TEST(GgufQuants, LongTensorsInParallel) {
  const auto file = GgufFile::open(kGolden + "/gguf/quants.gguf");
  for (const GgufTensor& t : file.tensors()) {
    const std::int64_t n = t.shape.numel();
    if (block_elements(t.type) == 1) continue;
    const std::int64_t repeats = 200000 / n + 1;
    std::vector<std::byte> bytes;
    for (std::int64_t i = 0; i < repeats; ++i)
      bytes.insert(bytes.end(), t.bytes.begin(), t.bytes.end());
    GgufTensor all = t;
    all.shape = {repeats, n};
    all.bytes = bytes;
    const Tensor one = read_tensor(t, DType::f32, "f");
    const Tensor many = read_tensor(all, DType::f32, "f");
    for (std::int64_t i = 0; i < repeats; ++i)
      ASSERT_EQ(std::memcmp(many.data<float>() + i * n, one.raw(), one.bytes()), 0) << t.name;
  }
}

TEST(GgufQuants, SizesMustAgree) {
  std::vector<std::byte> block(18);
  std::vector<float> out(32);
  EXPECT_NO_THROW(dequantize(GgmlType::q4_0, block, out));
  EXPECT_THROW(dequantize(GgmlType::q4_1, block, out), Error);
  EXPECT_THROW(dequantize(GgmlType::q4_0, block, std::span<float>(out).first(31)), Error);
  const GgufTensor t{.name = "t", .type = GgmlType::q4_0, .shape = {32}, .bytes = block};
  Tensor wrong = Tensor::zeros({31}, DType::f32);
  EXPECT_THROW(read_tensor(t, wrong, "f"), Error);
  EXPECT_THROW(read_tensor(t, DType::i32, "f"), Error);
}

// reshape(h, D/2, 2, in).swap(1, 2), spelled out.
TEST(GgufQuants, RopeRowsAreUnpermuted) {
  constexpr std::int64_t H = 3, D = 8, in = 5;
  std::vector<float> values(H * D * in);
  std::iota(values.begin(), values.end(), 0.0f);
  const Tensor w = Tensor::from(values, {H * D, in});
  const Tensor back = unpermute_rope_rows(w, H);
  for (std::int64_t h = 0; h < H; ++h)
    for (std::int64_t i = 0; i < D / 2; ++i)
      for (std::int64_t s = 0; s < 2; ++s)
        for (std::int64_t c = 0; c < in; ++c)
          EXPECT_EQ(back.data<float>()[(h * D + s * (D / 2) + i) * in + c],
                    w.data<float>()[(h * D + i * 2 + s) * in + c]);
  EXPECT_EQ(permute_rope_rows(back, H).to_vector(), w.to_vector());
  EXPECT_NE(back.to_vector(), w.to_vector());

  const Tensor bias = Tensor::from(std::span(values).first(H * D), {H * D});
  EXPECT_EQ(unpermute_rope_rows(bias, H).data<float>()[1], 2.0f);
  EXPECT_EQ(unpermute_rope_rows(bias, H).data<float>()[D / 2], 1.0f);
  EXPECT_THROW(unpermute_rope_rows(w, 5), Error);
  EXPECT_THROW(unpermute_rope_rows(w, 24), Error);
  EXPECT_THROW(unpermute_rope_rows(w, 0), Error);
}

}  // namespace
}  // namespace r1
