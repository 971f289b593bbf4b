// One case of a differentiable operation: how to make its operands, how to call it, and its
// definition; and what runs one forward and backward pass of it.
#pragma once

#include <complex>
#include <cstring>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "tensor/random.h"
#include "tests/reference/ops.h"

namespace r1::testing {

using Values = std::vector<double>;
template <class T>
using Arrays = std::vector<std::vector<T>>;

enum class Role {
  rows,       // a tensor whose row n only reaches row n of the result
  whole,      // any other tensor
  parameter,  // a Parameter
  constant,   // no gradient, in stats_dtype (tables)
};

struct Input {
  Role role;
  Shape shape;
  double low = -2, high = 2;
  double grid = 0;  // numbers are multiples of this, to make ties; 0: any

  bool differentiable() const { return role != Role::constant; }
};

struct Operands {
  std::vector<Tensor> tensors;       // undefined in place of parameters
  std::deque<Parameter> parameters;  // undefined in place of tensors
  Tensor ids;

  const Tensor& operator[](std::size_t i) const { return tensors[i]; }
  Parameter& parameter(std::size_t i) { return parameters[i]; }
};

// The definition of an operation in three arithmetics; the result is flat.
struct Reference {
  template <class F>
  explicit Reference(F f) : value(f), complex(f), sized(f) {}
  std::function<Values(const Arrays<double>&)> value;
  std::function<std::vector<std::complex<double>>(const Arrays<std::complex<double>>&)> complex;
  std::function<std::vector<reference::Sized>(const Arrays<reference::Sized>&)> sized;
};

struct OpCase {
  std::vector<Input> inputs;
  std::vector<std::int32_t> ids;
  std::function<Tensor(Operands&)> call;
  Reference reference;
};

// An operation at any size: the tests choose `rows` (0, 1, odd) and `width` (1, odd, beside and
// beyond the width of a vector).
struct OpFamily {
  const char* name;  // as in autograd/ops.h, then what is special about the case
  std::function<OpCase(std::int64_t rows, std::int64_t width)> make;
  bool row_by_row;  // a row of the result depends on that row of the `rows` operands alone
};
std::vector<OpFamily> op_families();  // op_table_test.cpp

inline Tensor tensor_of(const Values& values, const Shape& shape, DType dtype = DType::f64) {
  return Tensor::from(std::span<const double>(values), shape).cast(dtype);
}
inline Tensor ids_of(const std::vector<std::int32_t>& ids) {
  return Tensor::from(std::span<const std::int32_t>(ids), {static_cast<std::int64_t>(ids.size())});
}

// Random numbers that `dtype` holds exactly.
inline Values random_values(std::uint32_t stream, std::int64_t n, double low, double high,
                            double grid, DType dtype) {
  const Random random(11, Purpose::test);
  Values x;
  for (std::int64_t i = 0; i < n; ++i) {
    const double u = low + (high - low) * random.uniform(static_cast<std::uint32_t>(i), stream);
    x.push_back(grid > 0 ? grid * std::round(u / grid) : u);
  }
  return tensor_of(x, {n}, dtype).to_vector();
}
inline std::vector<std::int32_t> random_ids(std::int64_t n, std::int64_t below) {
  const Random random(12, Purpose::test);
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < n; ++i) {
    ids.push_back(static_cast<std::int32_t>(
        random.below(static_cast<std::uint32_t>(below), static_cast<std::uint32_t>(i))));
  }
  return ids;
}

inline Arrays<double> values_of(const OpCase& c, DType dtype) {
  Arrays<double> values;
  for (const Input& in : c.inputs) {
    const DType t = in.role == Role::constant ? stats_dtype(dtype) : dtype;
    values.push_back(random_values(static_cast<std::uint32_t>(values.size()), in.shape.numel(),
                                   in.low, in.high, in.grid, t));
  }
  return values;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.defined() == b.defined() &&
         (!a.defined() || (a.shape() == b.shape() && a.dtype() == b.dtype() &&
                           std::memcmp(a.raw(), b.raw(), a.bytes()) == 0));
}

struct Outcome {
  Tensor y, dy;
  std::vector<Tensor> gradients;  // undefined where none was made
  bool recorded = false;
};

struct CallOptions {
  int frozen = -1;  // this input wants no gradient
  bool all_frozen = false;
  int passes = 1;         // as many calls, one backward through their sum
  Tensor cotangent = {};  // random when undefined
};

inline Outcome run(const OpCase& c, const Arrays<double>& values, DType dtype,
                   const CallOptions& options = {}) {
  Recording recording;
  Tape& tape = recording.tape();
  Operands operands;
  if (!c.ids.empty() || c.inputs.empty()) operands.ids = ids_of(c.ids);
  if (!operands.ids.defined()) operands.ids = Tensor::empty({0}, DType::i32);
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const Input& in = c.inputs[i];
    const bool wanted =
        in.differentiable() && !options.all_frozen && options.frozen != static_cast<int>(i);
    Tensor t =
        tensor_of(values[i], in.shape, in.role == Role::constant ? stats_dtype(dtype) : dtype);
    if (in.role == Role::parameter) {
      operands.tensors.emplace_back();
      operands.parameters.emplace_back(t);
      operands.parameters.back().trainable = wanted;
    } else {
      if (wanted) tape.watch(t);
      operands.tensors.push_back(t);
      operands.parameters.emplace_back();
    }
  }
  Outcome result;
  result.y = c.call(operands);
  result.recorded = tape.tracks(result.y);
  result.dy = options.cotangent.defined()
                  ? options.cotangent
                  : tensor_of(random_values(99, result.y.numel(), -1, 1, 0, result.y.dtype()),
                              result.y.shape(), result.y.dtype());
  if (result.recorded) {
    Tensor total = result.y;
    for (int pass = 1; pass < options.passes; ++pass) total = add(total, c.call(operands));
    tape.backward(total, result.dy);
  }
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const Tensor& t = operands.tensors[i];
    if (c.inputs[i].role == Role::parameter) {
      result.gradients.push_back(operands.parameters[i].grad);
    } else {
      result.gradients.push_back(t.node() == 0 ? Tensor() : tape.gradient(t));
    }
  }
  return result;
}

}  // namespace r1::testing
