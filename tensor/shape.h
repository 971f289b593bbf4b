// Shape of a contiguous tensor: up to four dimensions, kept inline.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "tensor/error.h"

namespace r1 {

class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) {
    R1_CHECK(dims.size() <= kMaxRank, "shape: rank {} is above {}", dims.size(), kMaxRank);
    for (std::int64_t d : dims) push_back(d);
  }

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return dims_[static_cast<std::size_t>(i)]; }
  void push_back(std::int64_t d) {
    R1_CHECK(rank_ < kMaxRank, "shape: rank above {}", kMaxRank);
    R1_CHECK(d >= 0, "shape: dimension {} is negative", d);
    dims_[static_cast<std::size_t>(rank_++)] = d;
  }
  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= (*this)[i];
    return n;
  }
  // A tensor seen as rows: cols is the last dimension, rows the product of the others.
  std::int64_t cols() const { return rank_ == 0 ? 1 : (*this)[rank_ - 1]; }
  std::int64_t rows() const {
    std::int64_t n = 1;
    for (int i = 0; i + 1 < rank_; ++i) n *= (*this)[i];
    return n;
  }
  bool operator==(const Shape& o) const {
    if (rank_ != o.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if ((*this)[i] != o[i]) return false;
    return true;
  }
  std::string str() const {
    std::string s = "(";
    for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string((*this)[i]);
    return s + ")";
  }

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace r1

template <>
struct fmt::formatter<r1::Shape> : fmt::formatter<std::string> {
  template <class Context>
  auto format(const r1::Shape& s, Context& c) const {
    return fmt::formatter<std::string>::format(s.str(), c);
  }
};
