#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/tape.h"

namespace r1 {
namespace {

// One tensor whose elements are moved: the numbers, and what must hear of a change.
struct Variable {
  std::string name;
  Tensor value, gradient;
  Parameter* parameter;

  void set(std::int64_t i, double x) {
    value.data<double>()[i] = x;
    if (parameter) parameter->value_changed();
  }
};

// Puts one element back, also when f throws.
class Restore {
 public:
  Restore(Variable& variable, std::int64_t i)
      : variable_(variable), i_(i), x_(variable.value.data<double>()[i]) {}
  ~Restore() { variable_.set(i_, x_); }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  double x() const { return x_; }

 private:
  Variable& variable_;
  std::int64_t i_;
  double x_;
};

double root_mean_square(const Tensor& t) {
  if (t.numel() == 0) return 0;
  return std::sqrt(kernels(t.device()).sum_of_squares(t) / static_cast<double>(t.numel()));
}

void check_f64(const std::string& name, const Tensor& t) {
  R1_CHECK(t.defined() && t.dtype() == DType::f64, "gradcheck: {} {} is {}, use f64", name,
           t.shape(), t.defined() ? name_of(t.dtype()) : "undefined");
}

// Variables with their analytic gradients; returns f.
double differentiate(const ScalarFunction& f, const ParameterList& parameters,
                     std::vector<Tensor>& points, std::vector<Variable>& variables) {
  for (const NamedParameter& p : parameters) {
    if (!p.parameter->trainable) continue;
    check_f64(p.name, p.parameter->value);
    p.parameter->grad = Tensor();
  }
  Recording recording;
  for (std::size_t i = 0; i < points.size(); ++i) {
    check_f64("input " + std::to_string(i), points[i]);
    points[i] = points[i].clone();
    recording.tape().watch(points[i]);
  }
  const Tensor y = f(points);
  const double value = y.item();
  recording.backward(y);
  for (std::size_t i = 0; i < points.size(); ++i) {
    variables.push_back(
        {"input " + std::to_string(i), points[i], recording.tape().gradient(points[i]), nullptr});
  }
  for (const NamedParameter& p : parameters) {
    if (!p.parameter->trainable) continue;
    variables.push_back({p.name, p.parameter->value, p.parameter->gradient(), p.parameter});
  }
  return value;
}

double difference(const std::function<double()>& f, Variable& v, std::int64_t i, double step,
                  double typical) {
  const Restore element(v, i);
  const double scale = std::max(std::abs(element.x()), typical);
  const double h = std::exp2(std::round(std::log2(step * (scale > 0 ? scale : 1))));
  const auto at = [&](double offset) {
    v.set(i, element.x() + offset);
    return f();
  };
  return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
}

}  // namespace

GradcheckReport gradcheck(const ScalarFunction& f, const ParameterList& parameters,
                          std::span<const Tensor> inputs, const GradcheckOptions& options) {
  std::vector<Tensor> points(inputs.begin(), inputs.end());
  std::vector<Variable> variables;
  const double value = differentiate(f, parameters, points, variables);
  const Pause pause;
  const auto evaluate = [&] { return f(points).item(); };
  GradcheckReport report;
  for (Variable& v : variables) {
    const std::int64_t n = v.value.numel();
    const std::int64_t count = options.elements > 0 ? std::min(options.elements, n) : n;
    const double typical = root_mean_square(v.value);
    double largest = 1e-4 * std::abs(value);
    for (const double g : v.gradient.to_vector()) largest = std::max(largest, std::abs(g));
    for (std::int64_t j = 0; j < count; ++j) {
      const std::int64_t i = j * n / count;
      const double analytic = v.gradient.data<double>()[i];
      const double numeric = difference(evaluate, v, i, options.step, typical);
      const double distance = std::abs(analytic - numeric);
      const double error = distance == 0 ? 0 : distance / std::max(largest, std::abs(numeric));
      ++report.checked;
      if (error <= report.worst) continue;  // false for NaN: it is reported
      report.worst = error;
      report.where = fmt::format("{}[{}]", v.name, i);
      report.analytic = analytic;
      report.numeric = numeric;
      if (std::isnan(error)) return report;
    }
  }
  return report;
}

}  // namespace r1
