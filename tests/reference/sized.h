// A number with its derivative along one input and, for both, a size that bounds their rounding
// errors: running error analysis to first order (Wilkinson; Higham, Accuracy and Stability of
// Numerical Algorithms, section 3.3). Computed with unit roundoff u in any order of summation,
// value and derivative are off by a small multiple of u times their sizes: a leaf counts |x|, a
// product |a| size(b) + |b| size(a) + |ab|, a sum the sum of both. So the size of sum a_i b_i is 3
// sum |a_i b_i|.
#pragma once

#include <cmath>

namespace r1::reference {

struct Sized {
  double value = 0, size = 0;             // of the number
  double derivative = 0, slope_size = 0;  // of the derivative

  Sized() = default;
  Sized(double x) : value(x), size(std::abs(x)) {}  // NOLINT(google-explicit-constructor)
  static Sized variable(double x) {
    Sized s(x);
    s.derivative = 1;
    return s;
  }

  Sized& operator+=(const Sized& b) {
    value += b.value;
    size += b.size;
    derivative += b.derivative;
    slope_size += b.slope_size;
    return *this;
  }
  Sized& operator*=(const Sized& b) { return *this = *this * b; }
  Sized& operator/=(const Sized& b) { return *this = *this / b; }

  friend Sized operator+(Sized a, const Sized& b) { return a += b; }
  friend Sized operator-(const Sized& a, const Sized& b) { return a + -b; }
  friend Sized operator-(Sized a) {
    a.value = -a.value;
    a.derivative = -a.derivative;
    return a;
  }
  friend Sized operator*(const Sized& a, const Sized& b) {
    using std::abs;
    const double av = abs(a.value), bv = abs(b.value);
    const double ad = abs(a.derivative), bd = abs(b.derivative);
    Sized y;
    y.value = a.value * b.value;
    y.size = av * b.size + bv * a.size + av * bv;
    y.derivative = a.derivative * b.value + a.value * b.derivative;
    y.slope_size = a.slope_size * bv + ad * b.size + ad * bv +  //
                   b.slope_size * av + bd * a.size + bd * av;
    return y;
  }
  friend Sized operator/(const Sized& a, const Sized& b) {
    const double x = b.value;
    return a * b.through(1 / x, -1 / (x * x), 2 / (x * x * x));
  }
  friend Sized exp(const Sized& a) {
    const double e = std::exp(a.value);
    return a.through(e, e, e);
  }
  friend Sized log(const Sized& a) {
    const double x = a.value;
    return a.through(std::log(x), 1 / x, -1 / (x * x));
  }
  friend Sized sqrt(const Sized& a) {
    const double r = std::sqrt(a.value);
    return a.through(r, 0.5 / r, -0.25 / (r * a.value));
  }

 private:
  // f of this number, given f, f' and f'' there.
  Sized through(double f, double f1, double f2) const {
    using std::abs;
    Sized y;
    y.value = f;
    y.size = abs(f1) * size + abs(f);
    y.derivative = f1 * derivative;
    y.slope_size = abs(f1) * slope_size + abs(derivative) * (abs(f2) * size + 2 * abs(f1));
    return y;
  }
};

}  // namespace r1::reference
