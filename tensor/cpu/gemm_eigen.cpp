#include "tensor/cpu/gemm_eigen.h"

#include <Eigen/Core>

namespace r1::cpu::eigen {
namespace {

template <class T>
using Matrix = Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
template <class T>
using ConstMatrix =
    Eigen::Map<const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

template <class T>
ConstMatrix<T> view(const Tensor& t) {
  return {t.data<T>(), t.rows(), t.cols()};
}

template <class A, class B, class C>
void multiply(const A& a, const B& b, C c, bool accumulate) {
  if (accumulate) c.noalias() += a * b;
  else c.noalias() = a * b;
}

}  // namespace

void matmul(const Tensor& a, Transpose ta, const Tensor& b, Transpose tb, Tensor& c,
            bool accumulate) {
  dispatch_float(c.dtype(), "matmul", [&]<class T>() {
    const ConstMatrix<T> x = view<T>(a), y = view<T>(b);
    const Matrix<T> z(c.data<T>(), c.rows(), c.cols());
    if (ta == Transpose::no && tb == Transpose::no) multiply(x, y, z, accumulate);
    else if (ta == Transpose::no) multiply(x, y.transpose(), z, accumulate);
    else if (tb == Transpose::no) multiply(x.transpose(), y, z, accumulate);
    else multiply(x.transpose(), y.transpose(), z, accumulate);
  });
}

// op(B) itself, (K, N).
Tensor pack(const Tensor& b, Transpose tb) {
  if (tb == Transpose::no) return b.clone();
  Tensor packed = Tensor::empty({b.cols(), b.rows()}, b.dtype());
  dispatch_float(b.dtype(), "pack", [&]<class T>() {
    Matrix<T>(packed.data<T>(), b.cols(), b.rows()) = view<T>(b).transpose();
  });
  return packed;
}

void matmul_packed(const Tensor& a, const Tensor& packed, std::int64_t n, Tensor& c,
                   bool accumulate) {
  R1_CHECK(packed.cols() == n, "matmul_packed: packed has {} columns, not {}", packed.cols(), n);
  matmul(a, Transpose::no, packed, Transpose::no, c, accumulate);
}

}  // namespace r1::cpu::eigen
