#include "data/gguf_quants.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "data/half.h"
#include "data/json.h"
#include "tensor/error.h"
#include "tensor/parallel.h"

namespace r1 {
namespace {

constexpr std::int64_t kGrain = 1 << 16;  // elements of one task, a multiple of every block
constexpr std::int64_t kSuper = 256;      // elements of a K block

using Byte = std::uint8_t;

float load_f16(const Byte* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return f16_to_f32(bits);
}
std::uint32_t load_u32(const Byte* p) {
  std::uint32_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return bits;
}

// Each decode_X writes the elements of one block. Every product is exact in f32 (11 bits of d, up
// to 7 of a scale, up to 6 of q), so that a fused multiply-add gives the same bits. In the
// 32-element types byte j holds element j in its low and element j + 16 in its high half.

// d (f16), 16 bytes: d (q - 8)
void decode_q4_0(const Byte* b, float* y) {
  const float d = load_f16(b);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>((b[2 + j] & 15) - 8) * d;
    y[j + 16] = static_cast<float>((b[2 + j] >> 4) - 8) * d;
  }
}

// d, m (f16), 16 bytes: d q + m
void decode_q4_1(const Byte* b, float* y) {
  const float d = load_f16(b);
  const float m = load_f16(b + 2);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>(b[4 + j] & 15) * d + m;
    y[j + 16] = static_cast<float>(b[4 + j] >> 4) * d + m;
  }
}

// d (f16), 32 fifth bits, 16 bytes: d (q - 16)
void decode_q5_0(const Byte* b, float* y) {
  const float d = load_f16(b);
  const std::uint32_t high = load_u32(b + 2);
  for (int j = 0; j < 16; ++j) {
    const int low_bit = static_cast<int>((high >> j) & 1u) << 4;
    const int high_bit = static_cast<int>((high >> (j + 16)) & 1u) << 4;
    y[j] = static_cast<float>(((b[6 + j] & 15) | low_bit) - 16) * d;
    y[j + 16] = static_cast<float>(((b[6 + j] >> 4) | high_bit) - 16) * d;
  }
}

// d, m (f16), 32 fifth bits, 16 bytes: d q + m
void decode_q5_1(const Byte* b, float* y) {
  const float d = load_f16(b);
  const float m = load_f16(b + 2);
  const std::uint32_t high = load_u32(b + 4);
  for (int j = 0; j < 16; ++j) {
    const int low_bit = static_cast<int>((high >> j) & 1u) << 4;
    const int high_bit = static_cast<int>((high >> (j + 16)) & 1u) << 4;
    y[j] = static_cast<float>((b[8 + j] & 15) | low_bit) * d + m;
    y[j + 16] = static_cast<float>((b[8 + j] >> 4) | high_bit) * d + m;
  }
}

// d (f16), 32 int8: d q
void decode_q8_0(const Byte* b, float* y) {
  const float d = load_f16(b);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(static_cast<std::int8_t>(b[2 + j])) * d;
}

// The eight 6-bit pairs (scale, min) of Q4_K and Q5_K in 12 bytes.
void unpack_scales(const Byte* s, std::array<Byte, 8>& scale, std::array<Byte, 8>& min) {
  for (std::size_t j = 0; j < 4; ++j) {
    scale[j] = s[j] & 63;
    min[j] = s[j + 4] & 63;
    scale[j + 4] = static_cast<Byte>((s[j + 8] & 15) | ((s[j] >> 6) << 4));
    min[j + 4] = static_cast<Byte>((s[j + 8] >> 4) | ((s[j + 4] >> 6) << 4));
  }
}

// d, dmin (f16), 12 bytes of scales, 128 bytes: d sc q - dmin mn; per 64 elements 32 low, 32 high
void decode_q4_k(const Byte* b, float* y) {
  const float d = load_f16(b);
  const float dmin = load_f16(b + 2);
  std::array<Byte, 8> scale, min;
  unpack_scales(b + 4, scale, min);
  const Byte* q = b + 16;
  for (std::size_t g = 0; g < 8; g += 2, q += 32, y += 64) {
    const float d0 = d * static_cast<float>(scale[g]), m0 = dmin * static_cast<float>(min[g]);
    const float d1 = d * static_cast<float>(scale[g + 1]);
    const float m1 = dmin * static_cast<float>(min[g + 1]);
    for (int j = 0; j < 32; ++j) {
      y[j] = d0 * static_cast<float>(q[j] & 15) - m0;
      y[j + 32] = d1 * static_cast<float>(q[j] >> 4) - m1;
    }
  }
}

// As Q4_K with a fifth bit: bit g of byte j of qh belongs to element j of group g.
void decode_q5_k(const Byte* b, float* y) {
  const float d = load_f16(b);
  const float dmin = load_f16(b + 2);
  std::array<Byte, 8> scale, min;
  unpack_scales(b + 4, scale, min);
  const Byte* qh = b + 16;
  const Byte* q = b + 48;
  for (std::size_t g = 0; g < 8; g += 2, q += 32, y += 64) {
    const float d0 = d * static_cast<float>(scale[g]), m0 = dmin * static_cast<float>(min[g]);
    const float d1 = d * static_cast<float>(scale[g + 1]);
    const float m1 = dmin * static_cast<float>(min[g + 1]);
    for (int j = 0; j < 32; ++j) {
      const int low_bit = ((qh[j] >> g) & 1) << 4;
      const int high_bit = ((qh[j] >> (g + 1)) & 1) << 4;
      y[j] = d0 * static_cast<float>((q[j] & 15) | low_bit) - m0;
      y[j + 32] = d1 * static_cast<float>((q[j] >> 4) | high_bit) - m1;
    }
  }
}

// ql[128], qh[64], int8 scales[16], d (f16): d sc (q - 32); four quarters of 32 per 128 elements
void decode_q6_k(const Byte* b, float* y) {
  const float d = load_f16(b + 208);
  const Byte* ql = b;
  const Byte* qh = b + 128;
  const Byte* sc = b + 192;
  for (int half = 0; half < 2; ++half, ql += 64, qh += 32, sc += 8, y += 128) {
    std::array<float, 8> scale;
    for (std::size_t i = 0; i < 8; ++i)
      scale[i] = d * static_cast<float>(static_cast<std::int8_t>(sc[i]));
    for (int part = 0; part < 2; ++part) {  // 16 elements share a scale
      const auto s = static_cast<std::size_t>(part);
      const float s0 = scale[s], s1 = scale[s + 2], s2 = scale[s + 4], s3 = scale[s + 6];
      for (int j = part * 16; j < part * 16 + 16; ++j) {
        const int h = qh[j];
        y[j] = s0 * static_cast<float>(((ql[j] & 15) | ((h & 3) << 4)) - 32);
        y[j + 32] = s1 * static_cast<float>(((ql[j + 32] & 15) | (((h >> 2) & 3) << 4)) - 32);
        y[j + 64] = s2 * static_cast<float>(((ql[j] >> 4) | (((h >> 4) & 3) << 4)) - 32);
        y[j + 96] = s3 * static_cast<float>(((ql[j + 32] >> 4) | ((h >> 6) << 4)) - 32);
      }
    }
  }
}

void decode_f16(const Byte* b, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, b + 2 * i, sizeof(bits));
    y[i] = f16_to_f32(bits);
  }
}

void decode_bf16(const Byte* b, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, b + 2 * i, sizeof(bits));
    y[i] = std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
}

template <void (*decode)(const Byte*, float*), std::int64_t elements, std::int64_t bytes>
void decode_blocks(const Byte* b, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += elements, b += bytes) decode(b, y + i);
}

// n elements, a whole number of blocks.
void decode(GgmlType type, const Byte* b, float* y, std::int64_t n) {
  switch (type) {
    case GgmlType::f32:
      std::memcpy(y, b, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case GgmlType::f16:
      return decode_f16(b, y, n);
    case GgmlType::bf16:
      return decode_bf16(b, y, n);
    case GgmlType::q4_0:
      return decode_blocks<decode_q4_0, 32, 18>(b, y, n);
    case GgmlType::q4_1:
      return decode_blocks<decode_q4_1, 32, 20>(b, y, n);
    case GgmlType::q5_0:
      return decode_blocks<decode_q5_0, 32, 22>(b, y, n);
    case GgmlType::q5_1:
      return decode_blocks<decode_q5_1, 32, 24>(b, y, n);
    case GgmlType::q8_0:
      return decode_blocks<decode_q8_0, 32, 34>(b, y, n);
    case GgmlType::q4_k:
      return decode_blocks<decode_q4_k, kSuper, 144>(b, y, n);
    case GgmlType::q5_k:
      return decode_blocks<decode_q5_k, kSuper, 176>(b, y, n);
    case GgmlType::q6_k:
      return decode_blocks<decode_q6_k, kSuper, 210>(b, y, n);
  }
}

// Elements [begin, end) through a small f32 buffer, for the other element types.
template <class To>
void decode_through_f32(GgmlType type, const Byte* b, To* y, std::int64_t n) {
  constexpr std::int64_t kPiece = 1024;
  std::array<float, kPiece> piece;
  const std::int64_t elements = block_elements(type), bytes = block_bytes(type);
  for (std::int64_t i = 0; i < n; i += kPiece) {
    const std::int64_t m = std::min(kPiece, n - i);
    decode(type, b + i / elements * bytes, piece.data(), m);
    for (std::int64_t j = 0; j < m; ++j) y[i + j] = To(piece[static_cast<std::size_t>(j)]);
  }
}

// Row r of a head moves to row move(r, D): the same move for weights and biases.
template <class Move>
Tensor move_rows(const Tensor& w, std::int64_t heads, const char* what, Move&& move) {
  R1_CHECK(w.rank() >= 1 && heads > 0 && w.dim(0) % (2 * heads) == 0,
           "{}: {} rows are no {} heads of an even number of rows", what, w.rank() ? w.dim(0) : 0,
           heads);
  Tensor out = Tensor::empty_like(w);
  if (w.numel() == 0) return out;
  const std::int64_t rows = w.dim(0), D = rows / heads;
  const auto bytes = w.bytes() / static_cast<std::size_t>(rows);
  const auto* from = static_cast<const std::byte*>(w.raw());
  auto* to = static_cast<std::byte*>(out.raw());
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t target = r - r % D + move(r % D, D);
    std::memcpy(to + static_cast<std::size_t>(target) * bytes,
                from + static_cast<std::size_t>(r) * bytes, bytes);
  }
  return out;
}

}  // namespace

void dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> out) {
  const auto n = static_cast<std::int64_t>(out.size());
  R1_CHECK(n % block_elements(type) == 0 && static_cast<std::int64_t>(blocks.size()) ==
                                                n / block_elements(type) * block_bytes(type),
           "dequantize: {} bytes of {} do not make {} elements", blocks.size(), name_of(type), n);
  decode(type, reinterpret_cast<const Byte*>(blocks.data()), out.data(), n);
}

void read_tensor(const GgufTensor& t, Tensor& out, std::string_view where) {
  R1_CHECK(out.numel() == t.shape.numel(),
           "{}: tensor '{}' of {} {} does not fill a tensor of shape {}", where,
           json::printable(t.name), name_of(t.type), t.shape.str(), out.shape().str());
  R1_CHECK(is_float(out.dtype()), "{}: tensor '{}' of {} cannot become {}", where,
           json::printable(t.name), name_of(t.type), name_of(out.dtype()));
  const auto* bytes = reinterpret_cast<const Byte*>(t.bytes.data());
  const std::int64_t elements = block_elements(t.type), block = block_bytes(t.type);
  auto in_parallel = [&](auto&& decode_range) {
    parallel_ranges(out.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      decode_range(bytes + begin / elements * block, begin, end - begin);
    });
  };
  if (out.dtype() == DType::f32) {
    auto* to = out.data<float>();
    in_parallel(
        [&](const Byte* b, std::int64_t at, std::int64_t n) { decode(t.type, b, to + at, n); });
  } else if (out.dtype() == DType::f64) {
    auto* to = out.data<double>();
    in_parallel([&](const Byte* b, std::int64_t at, std::int64_t n) {
      decode_through_f32(t.type, b, to + at, n);
    });
  } else {
    auto* to = out.data<bf16>();
    in_parallel([&](const Byte* b, std::int64_t at, std::int64_t n) {
      decode_through_f32(t.type, b, to + at, n);
    });
  }
}

Tensor read_tensor(const GgufTensor& t, DType dtype, std::string_view where) {
  Tensor out = Tensor::empty(t.shape, dtype);
  read_tensor(t, out, where);
  return out;
}

Tensor unpermute_rope_rows(const Tensor& w, std::int64_t heads) {
  return move_rows(w, heads, "unpermute_rope_rows",
                   [](std::int64_t r, std::int64_t D) { return r % 2 * (D / 2) + r / 2; });
}

Tensor permute_rope_rows(const Tensor& w, std::int64_t heads) {
  return move_rows(w, heads, "permute_rope_rows",
                   [](std::int64_t r, std::int64_t D) { return r % (D / 2) * 2 + r / (D / 2); });
}

}  // namespace r1
