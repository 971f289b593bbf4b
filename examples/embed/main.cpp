// A program of one's own on the installed libraries: the table of kernels, used directly.
#include <cstdio>
#include <exception>
#include <vector>

#include "tensor/kernels.h"

int main() {
  try {
    const std::vector<float> values = {1, 2, 3, 4, 5, 6};
    const r1::Tensor x = r1::Tensor::from(values, {2, 3});
    for (const double number : x.cast(r1::DType::f64).to_vector()) std::printf("%g ", number);
    std::printf("\n");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
