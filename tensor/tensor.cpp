#include "tensor/tensor.h"

#include <limits>

#include "tensor/allocator.h"
#include "tensor/kernels.h"

namespace r1 {

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  std::size_t bytes = size_of(dtype);
  for (int i = 0; i < shape.rank(); ++i) {
    const auto d = static_cast<std::size_t>(shape[i]);
    R1_CHECK(d == 0 || bytes <= (std::numeric_limits<std::size_t>::max() >> 1) / d,
             "tensor: shape {} is too large", shape);
    bytes *= d;
  }
  Tensor t;
  t.storage_ = std::make_shared<Storage>(bytes, device);
  t.shape_ = shape;
  t.dtype_ = dtype;
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(0);
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype) {
  Tensor t = empty(shape, dtype);
  t.fill(value);
  return t;
}

namespace {

template <class T>
Tensor from_values(std::span<const T> values, const Shape& shape) {
  R1_CHECK(static_cast<std::int64_t>(values.size()) == shape.numel(),
           "tensor: {} values do not fill shape {}", values.size(), shape);
  Tensor t = Tensor::empty(shape, DTypeOf<T>::value);
  if (!values.empty()) std::memcpy(t.raw(), values.data(), values.size_bytes());
  return t;
}

}  // namespace

Tensor Tensor::from(std::span<const float> values, const Shape& shape) {
  return from_values(values, shape);
}
Tensor Tensor::from(std::span<const double> values, const Shape& shape) {
  return from_values(values, shape);
}
Tensor Tensor::from(std::span<const std::int32_t> values, const Shape& shape) {
  return from_values(values, shape);
}

Device Tensor::device() const { return storage_ ? storage_->device() : Device::cpu; }

void* Tensor::raw() { return static_cast<char*>(storage_->data()) + offset_; }
const void* Tensor::raw() const {
  return static_cast<const char*>(std::as_const(*storage_).data()) + offset_;
}

void Tensor::check_dtype(DType want) const {
  R1_CHECK(defined(), "tensor: undefined tensor used as {}", name_of(want));
  R1_CHECK(dtype_ == want, "tensor: {} tensor used as {}", name_of(dtype_), name_of(want));
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape_, dtype_, device());
  if (numel() > 0) kernels(device()).copy(*this, t);
  return t;
}

Tensor Tensor::cast(DType to) const {
  Tensor t = empty(shape_, to, device());
  if (numel() > 0) kernels(device()).copy(*this, t);
  return t;
}

Tensor Tensor::reshape(const Shape& shape) const {
  R1_CHECK(shape.numel() == numel(), "reshape: {} to {} changes the number of elements", shape_,
           shape);
  Tensor t = *this;
  t.shape_ = shape;
  t.node_ = 0;
  return t;
}

Tensor Tensor::narrow(std::int64_t begin, std::int64_t length) const {
  R1_CHECK(rank() > 0 && begin >= 0 && length >= 0 && begin <= dim(0) - length,
           "narrow: rows [{}, {}) do not lie in shape {}", begin, begin + length, shape_);
  Tensor t = *this;
  Shape s{length};
  std::int64_t row = 1;
  for (int i = 1; i < rank(); ++i) {
    s.push_back(dim(i));
    row *= dim(i);
  }
  t.shape_ = s;
  t.offset_ += static_cast<std::size_t>(begin * row) * size_of(dtype_);
  t.node_ = 0;
  return t;
}

void Tensor::fill(double value) {
  if (numel() > 0) kernels(device()).fill(*this, value);
}

void Tensor::copy_from(const Tensor& src) {
  R1_CHECK(src.shape() == shape_, "copy: shape {} into {}", src.shape(), shape_);
  if (numel() > 0) kernels(device()).copy(src, *this);
}

std::vector<double> Tensor::to_vector() const {
  std::vector<double> out(static_cast<std::size_t>(numel()));
  if (dtype_ == DType::i32) {
    const auto* p = data<std::int32_t>();
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = p[i];
  } else if (!out.empty()) {
    const Tensor t = cast(DType::f64);
    std::memcpy(out.data(), t.raw(), out.size() * sizeof(double));
  }
  return out;
}

double Tensor::item() const {
  R1_CHECK(defined() && numel() == 1, "item: shape {} is not one number", shape_);
  return to_vector()[0];
}

}  // namespace r1
