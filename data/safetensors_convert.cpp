// Between the element types of files and of tensors.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "data/half.h"
#include "data/json.h"
#include "data/safetensors.h"
#include "tensor/error.h"
#include "tensor/parallel.h"

namespace r1 {
namespace {

constexpr std::int64_t kGrain = 1 << 16;  // elements of one task

// How one element is stored (Bits) and what number it is.
template <class T>
struct Plain {
  using Bits = T;
  static T value(T bits) { return bits; }
};
struct Boolean {
  using Bits = std::uint8_t;
  static std::uint8_t value(Bits bits) { return bits != 0; }
};
struct Half {
  using Bits = std::uint16_t;
  static float value(Bits bits) { return f16_to_f32(bits); }
};
struct BFloat {
  using Bits = std::uint16_t;
  static float value(Bits bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};
struct Float8E5M2 {  // the upper half of an f16
  using Bits = std::uint8_t;
  static float value(Bits bits) { return f16_to_f32(static_cast<std::uint16_t>(bits << 8)); }
};
struct Float8E4M3 {  // bias 7, no infinity, NaN is all ones (arXiv:2209.05433)
  using Bits = std::uint8_t;
  static float value(Bits bits) {
    const int exponent = (bits >> 3) & 15;
    const int mantissa = bits & 7;
    float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                    : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
    if ((bits & 0x7f) == 0x7f) magnitude = std::numeric_limits<float>::quiet_NaN();
    return (bits & 0x80) != 0 ? -magnitude : magnitude;
  }
};

template <class F>
void visit(FileDType dtype, F&& f) {
  switch (dtype) {
    case FileDType::boolean:
      return f(Boolean{});
    case FileDType::u8:
      return f(Plain<std::uint8_t>{});
    case FileDType::i8:
      return f(Plain<std::int8_t>{});
    case FileDType::f8_e5m2:
      return f(Float8E5M2{});
    case FileDType::f8_e4m3:
      return f(Float8E4M3{});
    case FileDType::i16:
      return f(Plain<std::int16_t>{});
    case FileDType::u16:
      return f(Plain<std::uint16_t>{});
    case FileDType::f16:
      return f(Half{});
    case FileDType::bf16:
      return f(BFloat{});
    case FileDType::i32:
      return f(Plain<std::int32_t>{});
    case FileDType::u32:
      return f(Plain<std::uint32_t>{});
    case FileDType::f32:
      return f(Plain<float>{});
    case FileDType::f64:
      return f(Plain<double>{});
    case FileDType::i64:
      return f(Plain<std::int64_t>{});
    case FileDType::u64:
      return f(Plain<std::uint64_t>{});
  }
}

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, bf16>) {
    return bf16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, std::int32_t> && std::is_integral_v<From>) {
    R1_CHECK(std::in_range<std::int32_t>(value), "{} does not fit i32", value);
    return static_cast<std::int32_t>(value);
  } else {
    return static_cast<To>(value);
  }
}

// The bytes of a file need not be aligned for their type, hence memcpy.
template <class Code, class To>
void convert_range(const std::byte* from, To* to, std::int64_t begin, std::int64_t end) {
  using Bits = typename Code::Bits;
  for (std::int64_t i = begin; i < end; ++i) {
    Bits bits;
    std::memcpy(&bits, from + static_cast<std::size_t>(i) * sizeof(Bits), sizeof(Bits));
    to[i] = convert<To>(Code::value(bits));
  }
}

template <class To>
void convert_all(const TensorEntry& entry, Tensor& out, std::string_view where) {
  visit(entry.dtype, [&](auto code) {
    using Code = decltype(code);
    constexpr bool is_real = std::is_floating_point_v<decltype(Code::value(typename Code::Bits{}))>;
    if constexpr (std::is_same_v<To, std::int32_t> && is_real) {
      fail("{}: tensor '{}' of {} cannot become i32", where, json::printable(entry.name),
           entry.str());
    } else {
      To* to = out.data<To>();
      const std::byte* from = entry.bytes.data();
      parallel_ranges(out.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        convert_range<Code>(from, to, begin, end);
      });
    }
  });
}

void copy_all(const TensorEntry& entry, Tensor& out) {
  auto* to = static_cast<std::byte*>(out.raw());
  const auto n = static_cast<std::int64_t>(entry.bytes.size());
  parallel_ranges(n, kGrain * 8, [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(to + begin, entry.bytes.data() + begin, static_cast<std::size_t>(end - begin));
  });
}

}  // namespace

TensorEntry entry_of(std::string name, const Tensor& t) {
  R1_CHECK(t.defined(), "tensor '{}' to write is undefined", name);
  R1_CHECK(t.device() == Device::cpu, "tensor '{}' to write is not in CPU memory: copy it first",
           name);
  TensorEntry entry{
      .name = std::move(name), .dtype = file_dtype(t.dtype()), .dims = {}, .bytes = {}};
  for (int i = 0; i < t.rank(); ++i) entry.dims.push_back(static_cast<std::uint64_t>(t.dim(i)));
  entry.bytes = {static_cast<const std::byte*>(t.raw()), t.bytes()};
  return entry;
}

void read_tensor(const TensorEntry& entry, Tensor& out, std::string_view where) {
  R1_CHECK(static_cast<std::uint64_t>(out.numel()) == entry.numel(),
           "{}: tensor '{}' of {} does not fill a tensor of shape {}", where,
           json::printable(entry.name), entry.str(), out.shape().str());
  if (entry.bytes.empty()) return;
  if (entry.dtype == file_dtype(out.dtype())) return copy_all(entry, out);
  try {
    switch (out.dtype()) {
      case DType::f32:
        return convert_all<float>(entry, out, where);
      case DType::f64:
        return convert_all<double>(entry, out, where);
      case DType::bf16:
        return convert_all<bf16>(entry, out, where);
      case DType::i32:
        return convert_all<std::int32_t>(entry, out, where);
    }
  } catch (const Error& e) {
    const std::string what = e.what();
    if (what.starts_with(where)) throw;
    fail("{}: tensor '{}': {}", where, json::printable(entry.name), what);
  }
}

Tensor read_tensor(const TensorEntry& entry, DType dtype, std::string_view where) {
  Tensor out = Tensor::empty(entry.shape(), dtype);
  read_tensor(entry, out, where);
  return out;
}

}  // namespace r1
