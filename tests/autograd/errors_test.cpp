// Operands that do not fit are an Error whose text names the operation and the shapes.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "tests/autograd/op_case.h"

namespace r1::testing {
namespace {

struct BadCall {
  const char* what;
  std::function<void()> call;
  std::vector<std::string> texts;  // all of them stand in the message
};

Tensor f64(const Shape& shape) { return Tensor::full(shape, 0.5, DType::f64); }
Tensor f32(const Shape& shape) { return Tensor::full(shape, 0.5, DType::f32); }

void expect_errors(const std::vector<BadCall>& calls) {
  for (const BadCall& c : calls) {
    try {
      c.call();
      ADD_FAILURE() << c.what << ": no error";
    } catch (const Error& e) {
      const std::string message = e.what();
      for (const std::string& text : c.texts)
        EXPECT_NE(message.find(text), std::string::npos) << c.what << ": " << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << c.what;
    }
  }
}

TEST(OpErrors, BinaryOperations) {
  using Op = Tensor (*)(const Tensor&, const Tensor&);
  const std::vector<std::pair<const char*, Op>> ops = {
      {"add", &add},         {"subtract", &subtract}, {"multiply", &multiply}, {"divide", &divide},
      {"minimum", &minimum}, {"maximum", &maximum},   {"swiglu", &swiglu},
  };
  for (const auto& [name, op] : ops) {
    const std::string start = std::string(name) + ":";
    expect_errors({
        {name,
         [f = op] {
           f(f64({2, 3}), f64({3, 2}));
         },
         {start, "(2, 3)", "(3, 2)"}},
        {name,
         [f = op] {
           f(f64({2, 3}), f64({6}));
         },
         {start, "(2, 3)", "(6)"}},
        {name,
         [f = op] {
           f(f64({2, 3}), f32({2, 3}));
         },
         {start, "f64", "f32", "(2, 3)"}},
    });
  }
}

TEST(OpErrors, SmallOperations) {
  const Tensor x = f64({4, 3});
  expect_errors({
      {"clamp upside down", [=] { clamp(x, 1, -1); }, {"clamp", "1", "-1"}},
      {"clamp to NaN", [=] { clamp(x, std::nan(""), 1); }, {"clamp"}},
      {"reshape",
       [=] {
         reshape(x, {5, 2});
       },
       {"reshape", "(4, 3)", "(5, 2)"}},
      {"narrow past the end", [=] { narrow(x, 2, 3); }, {"narrow", "[2, 5)", "(4, 3)"}},
      {"narrow before the start", [=] { narrow(x, -1, 3); }, {"narrow", "(4, 3)"}},
      {"narrow of negative length", [=] { narrow(x, 1, -1); }, {"narrow", "(4, 3)"}},
      {"gather_rows: id too large",
       [=] {
         gather_rows(x, ids_of({0, 4}));
       },
       {"gather_rows", "4"}},
      {"gather_rows: negative id", [=] { gather_rows(x, ids_of({-1})); }, {"gather_rows", "-1"}},
      {"gather_rows: float ids",
       [=] { gather_rows(x, f32({2})); },
       {"gather_rows", "(4, 3)", "f32 (2)"}},
      {"gather_rows: ids in a matrix",
       [=] {
         gather_rows(x, ids_of({0, 1}).reshape({1, 2}));
       },
       {"gather_rows", "(1, 2)"}},
      {"integers", [] { exp(ids_of({1})); }, {"i32"}},
  });
}

TEST(OpErrors, Layers) {
  Parameter w(f64({5, 3})), vector(f64({5})), three(f64({3})), w32(f32({5, 3})), v32(f32({5}));
  const Tensor x = f64({4, 3});
  expect_errors({
      {"linear: width",
       [&] {
         linear(f64({4, 2}), w);
       },
       {"linear", "(5, 3)", "(4, 2)"}},
      {"linear: rank",
       [&] {
         linear(f64({4, 5}), vector);
       },
       {"linear", "(5)", "(4, 5)"}},
      {"linear: dtype", [&] { linear(x, w32); }, {"linear", "f32 (5, 3)", "f64 (4, 3)"}},
      {"linear: bias", [&] { linear(x, w, &three); }, {"linear", "bias", "(3)", "(5, 3)"}},
      {"linear: bias dtype", [&] { linear(x, w, &v32); }, {"linear", "bias", "f32 (5)", "f64"}},
      {"swiglu_linear: gate",
       [&] {
         swiglu_linear(x, f64({3, 4}), w);
       },
       {"(4, 3)", "(3, 4)"}},
      {"swiglu_linear: width",
       [&] {
         swiglu_linear(f64({4, 2}), f64({4, 2}), w);
       },
       {"linear", "(5, 3)", "(4, 2)"}},
      {"embedding: rank", [&] { embedding(vector, ids_of({0})); }, {"embedding", "(5)"}},
      {"embedding: id",
       [&] {
         embedding(w, ids_of({0, 5}));
       },
       {"embedding", "id 5", "place 1"}},
      {"embedding: negative", [&] { embedding(w, ids_of({-2})); }, {"embedding", "id -2"}},
      {"embedding: ids", [&] { embedding(w, f32({2})); }, {"embedding", "f32 (2)"}},
      {"rms_norm: width", [&] { rms_norm(x, vector, 1e-5); }, {"rms_norm", "(5)", "(4, 3)"}},
      {"rms_norm: dtype",
       [&] {
         rms_norm(f32({4, 5}), vector, 1e-5);
       },
       {"rms_norm", "f64 (5)", "f32 (4, 5)"}},
  });
}

TEST(OpErrors, Rope) {
  const Tensor x = f64({4, 12}), p = ids_of({0, 1, 2, 3});
  const RopeTable table{f64({4, 3}), f64({4, 3})}, single{f32({4, 3}), f32({4, 3})};
  expect_errors({
      {"heads", [=] { rope(x, p, table, 3); }, {"rope", "(4, 12)", "3 heads"}},
      {"no heads", [=] { rope(x, p, table, 0); }, {"rope", "(4, 12)"}},
      {"sin",
       [=] {
         rope(x, p, {f64({4, 3}), f64({3, 3})}, 2);
       },
       {"rope", "(4, 12)"}},
      {"table dtype", [=] { rope(x, p, single, 2); }, {"rope", "f32", "f64", "(4, 12)"}},
      {"positions",
       [=] {
         rope(x, ids_of({0, 1}), table, 2);
       },
       {"rope", "2 positions", "4 rows"}},
      {"position",
       [=] {
         rope(x, ids_of({0, 1, 2, 4}), table, 2);
       },
       {"rope", "4", "[0, 4)"}},
      {"float positions", [=] { rope(x, f64({4}), table, 2); }, {"rope", "f64 (4)"}},
  });
}

TEST(OpErrors, Attention) {
  const AttentionShape s{4, 2, 3, 5, 1};
  const Tensor q = f64({6, 12}), k = f64({6, 6}), v = f64({6, 10});
  const auto call = [=](const Tensor& q1, const Tensor& k1, const Tensor& v1,
                        std::vector<Segment> segments, const AttentionShape& shape) {
    return [=] { attention(q1, k1, v1, segments, shape); };
  };
  const std::vector<Segment> whole = {{0, 6, 0, 0}};
  const std::vector<std::string> shapes = {"attention", "(6, 12)", "(6, 6)", "(6, 10)"};
  expect_errors({
      {"heads", call(q, k, v, whole, {4, 3, 3, 5, 1}), {"attention", "4", "3"}},
      {"no heads", call(q, k, v, whole, {4, 0, 3, 5, 1}), {"attention", "4", "0"}},
      {"key width", call(q, k, v, whole, {4, 2, 4, 5, 1}), shapes},
      {"value width", call(q, k, v, whole, {4, 2, 3, 4, 1}), shapes},
      {"rows of k", call(q, f64({5, 6}), v, whole, s), {"attention", "(6, 12)", "(5, 6)"}},
      {"rows of v", call(q, k, f64({7, 10}), whole, s), {"attention", "(6, 12)", "(7, 10)"}},
      {"dtype of k", call(q, f32({6, 6}), v, whole, s), {"attention", "f64 (6, 12)", "f32 (6, 6)"}},
      {"dtype of v", call(q, k, f32({6, 10}), whole, s), {"attention", "f32 (6, 10)"}},
      {"too few rows", call(q, k, v, {{0, 5, 0, 0}}, s), {"attention", "5 of 6"}},
      {"too many rows", call(q, k, v, {{0, 7, 0, 0}}, s), {"attention", "7 of 6"}},
      {"a gap", call(q, k, v, {{0, 2, 0, 0}, {3, 3, 0, 0}}, s), {"attention", "6 rows"}},
      {"an overlap", call(q, k, v, {{0, 4, 0, 0}, {3, 3, 0, 0}}, s), {"attention", "6 rows"}},
      {"a prefix in the future", call(q, k, v, {{0, 2, 2, 2}, {2, 4, 0, 0}}, s), {"attention"}},
      {"a negative prefix", call(q, k, v, {{0, 2, 0, 0}, {2, 4, -1, 2}}, s), {"attention"}},
  });
}

TEST(OpErrors, LinearLogprob) {
  Parameter w(f64({5, 3})), vector(f64({5}));
  const Tensor h = f64({2, 3}), targets = ids_of({0, 4});
  expect_errors({
      {"width",
       [&] {
         linear_logprob(f64({2, 4}), w, targets);
       },
       {"linear_logprob", "(2, 4)", "(5, 3)"}},
      {"rank", [&] { linear_logprob(h, vector, targets); }, {"linear_logprob", "(2, 3)", "(5)"}},
      {"dtype",
       [&] {
         linear_logprob(f32({2, 3}), w, targets);
       },
       {"linear_logprob", "f32 (2, 3)", "f64 (5, 3)"}},
      {"targets", [&] { linear_logprob(h, w, ids_of({1})); }, {"linear_logprob", "(1)", "2 rows"}},
      {"float targets", [&] { linear_logprob(h, w, f64({2})); }, {"linear_logprob", "(2)"}},
      {"target",
       [&] {
         linear_logprob(h, w, ids_of({0, 5}));
       },
       {"linear_logprob", "5", "row 1"}},
      {"negative",
       [&] {
         linear_logprob(h, w, ids_of({-1, 0}));
       },
       {"linear_logprob", "-1"}},
      {"temperature 0",
       [&] { linear_logprob(h, w, targets, {.temperature = 0}); },
       {"linear_logprob", "temperature 0"}},
      {"temperature NaN",
       [&] { linear_logprob(h, w, targets, {.temperature = std::nan("")}); },
       {"linear_logprob", "temperature nan"}},
  });
}

}  // namespace
}  // namespace r1::testing
