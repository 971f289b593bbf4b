// The reference models that PyTorch and transformers made, as the tests see them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "data/safetensors.h"
#include "nn/load.h"

namespace r1::testing {

inline std::string golden(const std::string& path) {
  return std::string(R1_GOLDEN_DIR) + "/" + path;
}

struct GoldenModel {
  explicit GoldenModel(const std::string& name)
      : folder(golden("models/" + name)),
        source(nn::ModelSource::open(folder)),
        expected(SafetensorsFile::open(folder + "/expected.safetensors")) {}

  std::vector<std::vector<std::int32_t>> rows(const std::string& key = "input_ids") const {
    const TensorEntry& e = expected.at(key);
    const Tensor ids = read_tensor(e, DType::i32, folder);
    std::vector<std::vector<std::int32_t>> out;
    for (std::int64_t b = 0; b < ids.dim(0); ++b) {
      const auto* p = ids.data<std::int32_t>() + b * ids.dim(1);
      out.emplace_back(p, p + ids.dim(1));
    }
    return out;
  }
  std::vector<std::int32_t> ids(const std::string& key) const {
    const Tensor t = read_tensor(expected.at(key), DType::i32, folder);
    return {t.data<std::int32_t>(), t.data<std::int32_t>() + t.numel()};
  }
  std::vector<double> numbers(const std::string& key) const {
    return read_tensor(expected.at(key), DType::f64, folder).to_vector();
  }

  std::string folder;
  nn::ModelSource source;
  SafetensorsFile expected;
};

inline double max_abs_difference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double d = std::abs(a[i] - b[i]);
    if (!(d <= worst)) worst = d;  // NaN counts as worst
  }
  return worst;
}

inline double max_abs(const std::vector<double>& a) {
  double m = 0;
  for (const double x : a) m = std::max(m, std::abs(x));
  return m;
}

}  // namespace r1::testing
