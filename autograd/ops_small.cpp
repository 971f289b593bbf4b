#include "autograd/ops.h"

#include <limits>

namespace r1 {
namespace {

const Kernels& k(const Tensor& x) { return kernels(x.device()); }

bool recorded(const Tensor& a) {
  const Tape* tape = Tape::current();
  return tape != nullptr && tape->tracks(a);
}
bool recorded(const Tensor& a, const Tensor& b) { return recorded(a) || recorded(b); }

Tensor binary(const char* name, Binary op, const Tensor& a, const Tensor& b) {
  R1_CHECK(a.shape() == b.shape() && a.dtype() == b.dtype(), "{}: {} {} and {} {} do not match",
           name, name_of(a.dtype()), a.shape(), name_of(b.dtype()), b.shape());
  Tensor y = Tensor::empty_like(a);
  k(a).binary(op, a, b, y);
  return y;
}

Tensor unary(Unary op, const Tensor& x) {
  Tensor y = Tensor::empty_like(x);
  k(x).unary(op, x, y);
  return y;
}

Tensor scaled(const Tensor& x, double scale, double shift = 0) {
  Tensor y = Tensor::empty_like(x);
  k(x).affine(x, scale, shift, y);
  return y;
}

// 1 where low <= d <= high, else 0: the derivative of clamp, used to select branches.
Tensor selected(const Tensor& d, double low, double high) {
  const Tensor one = Tensor::full(d.shape(), 1, d.dtype());
  Tensor mask = Tensor::zeros_like(d);
  k(d).clamp_backward(one, d, low, high, mask);
  return mask;
}

// min and max: the gradient goes to the operand that was chosen, to a where they are equal.
Tensor choose(const char* name, Binary op, const Tensor& a, const Tensor& b) {
  Tensor y = binary(name, op, a, b);
  if (recorded(a, b)) {
    Tape* tape = Tape::current();
    tape->record(y, [=](const Tensor& dy) {
      constexpr double kInf = std::numeric_limits<double>::infinity();
      const Tensor d = binary(name, Binary::subtract, a, b);
      const Tensor to_a = op == Binary::minimum ? selected(d, -kInf, 0) : selected(d, 0, kInf);
      tape->add_grad(a, binary(name, Binary::multiply, dy, to_a));
      tape->add_grad(b, binary(name, Binary::multiply, dy, scaled(to_a, -1, 1)));
    });
  }
  return y;
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  Tensor y = binary("add", Binary::add, a, b);
  if (recorded(a, b)) {
    Tape* tape = Tape::current();
    tape->record(y, [tape, node_a = a.node(), node_b = b.node()](const Tensor& dy) {
      tape->add_grad(node_a, dy);
      tape->add_grad(node_b, dy);
    });
  }
  return y;
}

Tensor subtract(const Tensor& a, const Tensor& b) {
  Tensor y = binary("subtract", Binary::subtract, a, b);
  if (recorded(a, b)) {
    Tape* tape = Tape::current();
    tape->record(y, [tape, node_a = a.node(), node_b = b.node()](const Tensor& dy) {
      tape->add_grad(node_a, dy);
      tape->add_grad(node_b, unary(Unary::negate, dy));
    });
  }
  return y;
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  Tensor y = binary("multiply", Binary::multiply, a, b);
  if (recorded(a, b)) {
    Tape* tape = Tape::current();
    tape->record(y, [=](const Tensor& dy) {
      if (tape->tracks(a)) tape->add_grad(a, binary("multiply", Binary::multiply, dy, b));
      if (tape->tracks(b)) tape->add_grad(b, binary("multiply", Binary::multiply, dy, a));
    });
  }
  return y;
}

// d(a / b) = da / b - (a / b) db / b
Tensor divide(const Tensor& a, const Tensor& b) {
  Tensor y = binary("divide", Binary::divide, a, b);
  if (recorded(a, b)) {
    Tape* tape = Tape::current();
    const Tensor quotient = y;
    tape->record(y, [=](const Tensor& dy) {
      const Tensor da = binary("divide", Binary::divide, dy, b);
      tape->add_grad(a, da);
      if (tape->tracks(b)) {
        const Tensor db = binary("divide", Binary::multiply, da, quotient);
        tape->add_grad(b, unary(Unary::negate, db));
      }
    });
  }
  return y;
}

Tensor minimum(const Tensor& a, const Tensor& b) {
  return choose("minimum", Binary::minimum, a, b);
}
Tensor maximum(const Tensor& a, const Tensor& b) {
  return choose("maximum", Binary::maximum, a, b);
}

Tensor affine(const Tensor& x, double scale, double shift) {
  Tensor y = scaled(x, scale, shift);
  if (recorded(x)) {
    Tape* tape = Tape::current();
    tape->record(y, [tape, scale, node = x.node()](const Tensor& dy) {
      tape->add_grad(node, scaled(dy, scale));
    });
  }
  return y;
}

Tensor exp(const Tensor& x) {
  Tensor y = unary(Unary::exp, x);
  if (recorded(x)) {
    Tape* tape = Tape::current();
    const Tensor value = y;  // d exp(x) = exp(x)
    tape->record(y, [=](const Tensor& dy) {
      tape->add_grad(x, binary("exp", Binary::multiply, dy, value));
    });
  }
  return y;
}

Tensor log(const Tensor& x) {
  Tensor y = unary(Unary::log, x);
  if (recorded(x)) {
    Tape* tape = Tape::current();
    tape->record(
        y, [=](const Tensor& dy) { tape->add_grad(x, binary("log", Binary::divide, dy, x)); });
  }
  return y;
}

// d log sigmoid(x) = sigmoid(-x) = 1 - exp(log sigmoid(x)), written so that it cannot cancel.
Tensor log_sigmoid(const Tensor& x) {
  Tensor y = unary(Unary::log_sigmoid, x);
  if (recorded(x)) {
    Tape* tape = Tape::current();
    tape->record(y, [=](const Tensor& dy) {
      const Tensor minus_x = unary(Unary::negate, x);
      const Tensor slope = unary(Unary::exp, unary(Unary::log_sigmoid, minus_x));
      tape->add_grad(x, binary("log_sigmoid", Binary::multiply, dy, slope));
    });
  }
  return y;
}

Tensor clamp(const Tensor& x, double low, double high) {
  R1_CHECK(low <= high, "clamp: low {} is above high {}", low, high);
  Tensor y = Tensor::empty_like(x);
  k(x).clamp(x, low, high, y);
  if (recorded(x)) {
    Tape* tape = Tape::current();
    tape->record(y,
                 [=](const Tensor& dy) { k(x).clamp_backward(dy, x, low, high, tape->grad(x)); });
  }
  return y;
}

Tensor sum(const Tensor& x) {
  Tensor y = Tensor::empty({1}, stats_dtype(x.dtype()));
  k(x).sum(x, y);
  if (recorded(x)) {
    Tape* tape = Tape::current();
    tape->record(y, [=](const Tensor& dy) {
      tape->add_grad(x, Tensor::full(x.shape(), dy.item(), x.dtype()));
    });
  }
  return y;
}

Tensor reshape(const Tensor& x, const Shape& shape) {
  Tensor y = x.reshape(shape);
  if (recorded(x)) {
    Tape* tape = Tape::current();
    tape->record(y, [tape, node = x.node(), from = x.shape()](const Tensor& dy) {
      tape->add_grad(node, dy.reshape(from));
    });
  }
  return y;
}

Tensor narrow(const Tensor& x, std::int64_t begin, std::int64_t length) {
  Tensor y = x.narrow(begin, length);
  if (recorded(x)) {
    Tape* tape = Tape::current();
    tape->record(y, [=](const Tensor& dy) {
      Tensor part = tape->grad(x).narrow(begin, length);
      k(x).axpy(1.0, dy, part);
    });
  }
  return y;
}

Tensor gather_rows(const Tensor& x, const Tensor& ids) {
  R1_CHECK(x.rank() == 2 && ids.rank() == 1 && ids.dtype() == DType::i32,
           "gather_rows: x {} must be (N, D) and ids {} {} must be (M) i32", x.shape(),
           name_of(ids.dtype()), ids.shape());
  for (const std::int32_t id :
       std::span(ids.data<std::int32_t>(), static_cast<std::size_t>(ids.numel()))) {
    R1_CHECK(id >= 0 && id < x.dim(0), "gather_rows: row {} of a table of {} rows", id, x.dim(0));
  }
  Tensor y = Tensor::empty({ids.numel(), x.dim(1)}, x.dtype(), x.device());
  k(x).gather_rows(x, ids, y);
  if (recorded(x)) {
    Tape* tape = Tape::current();
    tape->record(y, [=](const Tensor& dy) { k(x).scatter_add_rows(dy, ids, tape->grad(x)); });
  }
  return y;
}

}  // namespace r1
