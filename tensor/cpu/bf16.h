// How the CPU computes in bf16: operands are widened to f32, the f32 kernel runs, results are
// rounded once. Every float result therefore carries one rounding and no kernel knows bf16.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

#include "tensor/tensor.h"

namespace r1::cpu {

template <class A> bool is_bf16(const A& a) {
  if constexpr (std::is_same_v<A, Tensor>) return a.defined() && a.dtype() == DType::bf16;
  else return false;
}

template <class A> A widened(const A& a) {
  if constexpr (std::is_same_v<A, Tensor>) return is_bf16(a) ? a.cast(DType::f32) : a;
  else return a;
}

// Kernel with the same signature as `kernel`, for all float dtypes.
template <auto kernel> struct ThroughF32;
template <class R, class... Args, R (*kernel)(Args...)> struct ThroughF32<kernel> {
  static R call(Args... args) {
    if (!(is_bf16<std::remove_cvref_t<Args>>(args) || ...)) {
      return kernel(std::forward<Args>(args)...);
    }
    std::tuple<std::remove_cvref_t<Args>...> wide(widened<std::remove_cvref_t<Args>>(args)...);
    auto outs = std::tie(args...);
    if constexpr (std::is_void_v<R>) {
      std::apply(kernel, wide);
      store(outs, wide, std::index_sequence_for<Args...>{});
    } else {
      R result = std::apply(kernel, wide);
      store(outs, wide, std::index_sequence_for<Args...>{});
      return result;
    }
  }

 private:
  template <class Outs, class Wide, std::size_t... I>
  static void store(Outs& outs, Wide& wide, std::index_sequence<I...>) {
    (store_one<Args>(std::get<I>(outs), std::get<I>(wide)), ...);
  }
  template <class Arg, class Out, class In> static void store_one(Out& out, In& in) {
    if constexpr (std::is_same_v<Arg, Tensor&>) {
      if (is_bf16(out)) out.copy_from(in);
    }
  }
};

template <auto kernel> constexpr auto through_f32 = &ThroughF32<kernel>::call;

}  // namespace r1::cpu
