// A trainable tensor: its value, its gradient, and its packed form for matrix products.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tensor/kernels.h"
#include "tensor/tensor.h"

namespace r1 {

class Parameter {
 public:
  Parameter() = default;
  explicit Parameter(Tensor v) : value(std::move(v)) {}
  // One set of numbers, one owner: two modules that share a matrix hold a pointer to it.
  Parameter(const Parameter&) = delete;
  Parameter& operator=(const Parameter&) = delete;
  Parameter(Parameter&&) = default;
  Parameter& operator=(Parameter&&) = default;

  Tensor value;
  Tensor grad;  // undefined until the first backward; accumulates with +=
  bool trainable = true;

  bool defined() const { return value.defined(); }
  // The accumulator for a backward closure: zeros at first; undefined when not trainable.
  Tensor& gradient();
  void zero_grad();

  // value^T packed for y = x value^T; made at first use, kept until value_changed().
  const Tensor& packed_transpose();
  // To be called after every change of `value`.
  void value_changed() { packed_ = Tensor(); }

 private:
  Tensor packed_;
  Tensor none_;
};

// A parameter with its Hugging Face name, in the order in which a model visits them.
struct NamedParameter {
  std::string name;
  Parameter* parameter;
};
using ParameterList = std::vector<NamedParameter>;

}  // namespace r1
