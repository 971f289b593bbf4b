// The table of operations, and that it has them all.
#include <gtest/gtest.h>

#include <cctype>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/autograd/op_case.h"
#include "tests/reference/attention.h"

namespace r1::testing {

namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

Input rows(std::int64_t N, std::int64_t D, double low = -2, double high = 2, double grid = 0) {
  return {Role::rows, {N, D}, low, high, grid};
}
Input parameter(const Shape& shape) { return {Role::parameter, shape}; }

// y = f(x), element by element; `reference` of one number of any arithmetic.
template <class F>
OpFamily unary(const char* name, Tensor (*op)(const Tensor&), F reference, double low = -2,
               double high = 2) {
  return {name,
          [=](std::int64_t N, std::int64_t D) {
            return OpCase{
                {rows(N, D, low, high)},
                {},
                [=](Operands& in) { return op(in[0]); },
                Reference([=](const auto& in) { return reference::map(in[0], reference); })};
          },
          true};
}

template <class F>
OpFamily binary(const char* name, Tensor (*op)(const Tensor&, const Tensor&), F reference,
                double low = -2, double high = 2, double grid = 0) {
  return {name,
          [=](std::int64_t N, std::int64_t D) {
            return OpCase{
                {rows(N, D, -2, 2, grid), rows(N, D, low, high, grid)},
                {},
                [=](Operands& in) { return op(in[0], in[1]); },
                Reference([=](const auto& in) { return reference::map(in[0], in[1], reference); })};
          },
          true};
}

OpCase sum_case(std::int64_t N, std::int64_t D) {
  return {{{Role::whole, {N, D}}},
          {},
          [](Operands& in) { return sum(in[0]); },
          Reference([](const auto& in) { return reference::sum(in[0]); })};
}

OpCase reshape_case(std::int64_t N, std::int64_t D) {
  return {{{Role::whole, {N, D}}},
          {},
          [=](Operands& in) {
            return reshape(in[0], {D, N});
          },
          Reference([](const auto& in) { return in[0]; })};
}

// The rows without the first and the last: a gradient of zeros around that of the middle.
OpCase narrow_case(std::int64_t N, std::int64_t D) {
  return {{{Role::whole, {N + 2, D}}},
          {},
          [=](Operands& in) { return narrow(in[0], 1, N); },
          Reference([=](const auto& in) {
            auto y = in[0];
            y.erase(y.end() - D, y.end());
            y.erase(y.begin(), y.begin() + D);
            return y;
          })};
}

// Few table rows, so that ids repeat.
OpCase gather_case(std::int64_t N, std::int64_t D) {
  const auto ids = random_ids(N, 1 + N / 2);
  return {{{Role::whole, {1 + N / 2, D}}},
          ids,
          [](Operands& in) { return gather_rows(in[0], in.ids); },
          Reference([=](const auto& in) { return reference::take_rows(in[0], ids, size(D)); })};
}
OpCase embedding_case(std::int64_t N, std::int64_t D) {
  OpCase c = gather_case(N, D);
  c.inputs[0].role = Role::parameter;
  c.call = [](Operands& in) { return embedding(in.parameter(0), in.ids); };
  return c;
}

OpCase linear_case(std::int64_t N, std::int64_t K, bool bias) {
  const std::int64_t M = K / 2 + 2;
  OpCase c{{rows(N, K), parameter({M, K})},
           {},
           [=](Operands& in) {
             return linear(in[0], in.parameter(1), bias ? &in.parameter(2) : nullptr);
           },
           Reference([=](const auto& in) {
             using Array = std::decay_t<decltype(in[0])>;
             return reference::linear(in[0], in[1], bias ? in[2] : Array(), size(K), size(M));
           })};
  if (bias) c.inputs.push_back(parameter({M}));
  return c;
}

OpCase rms_norm_case(std::int64_t N, std::int64_t D) {
  return {{rows(N, D), parameter({D})},
          {},
          [](Operands& in) { return rms_norm(in[0], in.parameter(1), 1e-2); },
          Reference([](const auto& in) { return reference::rms_norm(in[0], in[1], 1e-2); })};
}

OpCase swiglu_linear_case(std::int64_t N, std::int64_t K, bool bias) {
  OpCase c = linear_case(N, K, bias);
  c.inputs.insert(c.inputs.begin(), rows(N, K));
  c.call = [=](Operands& in) {
    return swiglu_linear(in[0], in[1], in.parameter(2), bias ? &in.parameter(3) : nullptr);
  };
  const std::int64_t M = c.inputs[2].shape[0];
  c.reference = Reference([=](const auto& in) {
    using Array = std::decay_t<decltype(in[0])>;
    const auto h =
        reference::map(in[0], in[1], [](auto g, auto u) { return reference::gated(g, u); });
    return reference::linear(h, in[2], bias ? in[3] : Array(), size(K), size(M));
  });
  return c;
}

// Three heads; any numbers do for cosines and sines, so that neither can stand for the other.
OpCase rope_case(std::int64_t N, std::int64_t half) {
  constexpr std::int64_t kHeads = 3, kPositions = 5;
  const auto positions = random_ids(N, kPositions);
  return {{rows(N, kHeads * 2 * half),
           {Role::constant, {kPositions, half}},
           {Role::constant, {kPositions, half}}},
          positions,
          [](Operands& in) {
            return rope(in[0], in.ids, {in[1], in[2]}, kHeads);
          },
          Reference([=](const auto& in) {
            return reference::rope(in[0], positions, in[1], in[2], size(kHeads), size(half));
          })};
}

// A prompt, two answers to it, which are empty when there are few rows, and a sequence of its own.
std::vector<Segment> packed_segments(std::int64_t N) {
  const std::int64_t a = N / 3, b = N / 4, c = N / 4;
  return {{0, a, 0, 0}, {a, b, 0, a}, {a + b, c, 0, a}, {a + b + c, N - a - b - c, 0, 0}};
}

OpCase attention_case(std::int64_t N, const AttentionShape& s) {
  const auto segments = packed_segments(N);
  return {{{Role::whole, {N, s.heads * s.key_dim}, -1, 1},
           {Role::whole, {N, s.kv_heads * s.key_dim}, -1, 1},
           {Role::whole, {N, s.kv_heads * s.value_dim}}},
          {},
          [=](Operands& in) { return attention(in[0], in[1], in[2], segments, s); },
          Reference([=](const auto& in) {
            return reference::attention(in[0], in[1], in[2], segments, s).o;
          })};
}

OpCase logprob_case(std::int64_t N, std::int64_t V, double temperature) {
  const auto targets = random_ids(N, V);
  const std::int64_t D = V / 3 + 1;
  return {
      {rows(N, D, -1, 1), parameter({V, D})},
      targets,
      [=](Operands& in) {
        return linear_logprob(in[0], in.parameter(1), in.ids, {.temperature = temperature}).logprob;
      },
      Reference([=](const auto& in) {
        using Array = std::decay_t<decltype(in[0])>;
        const auto logits = reference::linear(in[0], in[1], Array(), size(D), size(V));
        return reference::logprob(logits, targets, size(V), temperature);
      })};
}

// Two layers whose activations are made again in backward.
OpCase recompute_case(std::int64_t N, std::int64_t D) {
  return {{rows(N, D), parameter({D}), parameter({D, D})},
          {},
          [](Operands& in) {
            return recompute(
                [&in](const Tensor& x) {
                  return add(x, linear(rms_norm(x, in.parameter(1), 1e-2), in.parameter(2)));
                },
                in[0]);
          },
          Reference([=](const auto& in) {
            using Array = std::decay_t<decltype(in[0])>;
            const auto normed = reference::rms_norm(in[0], in[1], 1e-2);
            const auto added = reference::linear(normed, in[2], Array(), size(D), size(D));
            return reference::map(in[0], added, [](auto a, auto b) { return a + b; });
          })};
}

std::vector<OpFamily> small_operations() {
  return {
      binary("add", &add, [](auto a, auto b) { return a + b; }),
      binary("subtract", &subtract, [](auto a, auto b) { return a - b; }),
      binary("multiply", &multiply, [](auto a, auto b) { return a * b; }),
      binary(
          "divide", &divide, [](auto a, auto b) { return a / b; }, 0.5, 2),
      binary(
          "divide by negative numbers", &divide, [](auto a, auto b) { return a / b; }, -2, -0.5),
      binary("minimum", &minimum, [](auto a, auto b) { return reference::smaller(a, b); }),
      binary(
          "minimum with ties", &minimum, [](auto a, auto b) { return reference::smaller(a, b); },
          -2, 2, 1),
      binary("maximum", &maximum, [](auto a, auto b) { return reference::larger(a, b); }),
      binary(
          "maximum with ties", &maximum, [](auto a, auto b) { return reference::larger(a, b); }, -2,
          2, 1),
      unary(
          "affine", [](const Tensor& x) { return affine(x, -1.5, 0.25); },
          [](auto x) { return decltype(x)(-1.5) * x + decltype(x)(0.25); }),
      unary("exp", &r1::exp,
            [](auto x) {
              using std::exp;
              return exp(x);
            }),
      unary(
          "log", &r1::log,
          [](auto x) {
            using std::log;
            return log(x);
          },
          0.1, 3),
      unary(
          "log_sigmoid", &log_sigmoid, [](auto x) { return reference::log_logistic(x); }, -5, 5),
      unary(
          "clamp", [](const Tensor& x) { return clamp(x, -0.75, 1.25); },
          [](auto x) { return reference::clamped(x, -0.75, 1.25); }),
      {"sum", sum_case, false},
      {"reshape", reshape_case, false},
      {"narrow", narrow_case, false},
      {"gather_rows", gather_case, false},
  };
}

}  // namespace

std::vector<OpFamily> op_families() {
  std::vector<OpFamily> all = small_operations();
  all.push_back({"linear", [](auto N, auto K) { return linear_case(N, K, false); }, true});
  all.push_back({"linear with bias", [](auto N, auto K) { return linear_case(N, K, true); }, true});
  all.push_back({"embedding", embedding_case, false});
  all.push_back({"rms_norm", rms_norm_case, true});
  all.push_back(
      binary("swiglu", &swiglu, [](auto gate, auto up) { return reference::gated(gate, up); }));
  all.push_back(
      {"swiglu_linear", [](auto N, auto K) { return swiglu_linear_case(N, K, false); }, true});
  all.push_back({"swiglu_linear with bias",
                 [](auto N, auto K) { return swiglu_linear_case(N, K, true); }, true});
  all.push_back({"rope", rope_case, true});
  all.push_back({"attention",
                 [](auto N, auto D) {
                   return attention_case(N, {2, 2, D, D, 0.5});
                 },
                 false});
  all.push_back({"attention with grouped heads",
                 [](auto N, auto D) {
                   return attention_case(N, {6, 2, D / 3 + 1, D / 2 + 2, 0.3});
                 },
                 false});
  all.push_back({"linear_logprob", [](auto N, auto V) { return logprob_case(N, V, 1); }, true});
  all.push_back({"linear_logprob with temperature",
                 [](auto N, auto V) { return logprob_case(N, V, 0.7); }, true});
  all.push_back({"recompute", recompute_case, true});
  return all;
}

namespace {

// Names of the functions that a header declares: lines "Type name(..." at the left margin.
std::set<std::string> declared_functions(const std::string& path) {
  std::ifstream file(path);
  std::set<std::string> names;
  for (std::string line; std::getline(file, line);) {
    const std::size_t open = line.find('(');
    if (line.empty() || std::isupper(static_cast<unsigned char>(line[0])) == 0 ||
        open == std::string::npos) {
      continue;
    }
    const std::size_t blank = line.rfind(' ', open);
    names.insert(line.substr(blank + 1, open - blank - 1));
  }
  return names;
}

TEST(OpTable, HasEveryOperation) {
  const auto declared = declared_functions(R1_SOURCE_DIR "/autograd/ops.h");
  EXPECT_GE(declared.size(), 24u) << "ops.h is not understood";
  std::set<std::string> tested;
  for (const OpFamily& f : op_families()) {
    const std::string name = f.name;
    tested.insert(name.substr(0, name.find(' ')));
  }
  EXPECT_EQ(declared, tested);
}

}  // namespace
}  // namespace r1::testing
