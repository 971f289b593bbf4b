// A contiguous, row-major array of up to four dimensions: a handle on shared storage.
// Copying a Tensor copies the handle; clone() copies the numbers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tensor/device.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace r1 {

class Storage;  // tensor/allocator.h

class Tensor {
 public:
  Tensor() = default;  // undefined: no storage; kernels skip an undefined output

  // Numbers not initialised. Throws Error when the sizes overflow or memory is short.
  static Tensor empty(const Shape& shape, DType dtype, Device device = Device::cpu);
  static Tensor zeros(const Shape& shape, DType dtype, Device device = Device::cpu);
  static Tensor full(const Shape& shape, double value, DType dtype);
  static Tensor from(std::span<const float> values, const Shape& shape);
  static Tensor from(std::span<const double> values, const Shape& shape);
  static Tensor from(std::span<const std::int32_t> values, const Shape& shape);
  static Tensor empty_like(const Tensor& t) { return empty(t.shape(), t.dtype(), t.device()); }
  static Tensor zeros_like(const Tensor& t) { return zeros(t.shape(), t.dtype(), t.device()); }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  std::int64_t dim(int i) const { return shape_[i]; }
  std::int64_t numel() const { return shape_.numel(); }
  std::int64_t rows() const { return shape_.rows(); }
  std::int64_t cols() const { return shape_.cols(); }
  DType dtype() const { return dtype_; }
  Device device() const;
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }

  // Typed access; throws Error when T is not the dtype.
  template <class T>
  T* data() {
    check_dtype(DTypeOf<T>::value);
    return static_cast<T*>(raw());
  }
  template <class T>
  const T* data() const {
    check_dtype(DTypeOf<T>::value);
    return static_cast<const T*>(raw());
  }
  void* raw();
  const void* raw() const;

  Tensor clone() const;
  Tensor cast(DType to) const;               // a copy, rounded to nearest even
  Tensor reshape(const Shape& shape) const;  // same storage
  Tensor narrow(std::int64_t begin,
                std::int64_t length) const;  // rows [begin, begin + length) of dim 0
  void fill(double value);
  void copy_from(const Tensor& src);  // same shape; converts between float types
  std::vector<double> to_vector() const;
  double item() const;  // the number of a tensor with one element

  bool shares_storage(const Tensor& o) const { return storage_ && storage_ == o.storage_; }
  // True when no other handle can see these numbers, so that they may be changed in place.
  bool unique() const { return storage_.use_count() == 1; }

  // Identity of this value on the current tape (autograd/tape.h); 0: no gradient flows to it.
  std::int64_t node() const { return node_; }
  void set_node(std::int64_t node) { node_ = node; }

 private:
  void check_dtype(DType want) const;

  std::shared_ptr<Storage> storage_;
  std::size_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::f32;
  std::int64_t node_ = 0;
};

}  // namespace r1
