// Every member of struct Kernels has a test: either a case of the table of operations, which
// compares it with a definition, calls it, or it is listed with the test of tensor/ that does.
//
// The calls are counted. This file defines kernels(), so the linker takes this definition in place
// of tensor/backend.cpp, and the operations get a table whose members count and pass on.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tensor/kernels.h"
#include "tests/autograd/op_case.h"

namespace r1 {
namespace cpu {
const Kernels& table();  // tensor/cpu/backend.cpp
}

namespace {

template <auto member>
struct Counted;
template <class R, class... Args, R (*Kernels::*member)(Args...)>
struct Counted<member> {
  static inline std::atomic<long> calls = 0;
  static R call(Args... args) {
    ++calls;
    return (cpu::table().*member)(std::forward<Args>(args)...);
  }
};

struct Counters {
  Kernels kernels = cpu::table();
  std::map<std::string, std::atomic<long>*> calls;

  template <auto member>
  void count(const char* name) {
    kernels.*member = &Counted<member>::call;
    calls[name] = &Counted<member>::calls;
  }
};

Counters& counters() {
  static Counters all = [] {
    Counters c;
    c.count<&Kernels::fill>("fill");
    c.count<&Kernels::copy>("copy");
    c.count<&Kernels::unary>("unary");
    c.count<&Kernels::binary>("binary");
    c.count<&Kernels::affine>("affine");
    c.count<&Kernels::clamp>("clamp");
    c.count<&Kernels::clamp_backward>("clamp_backward");
    c.count<&Kernels::axpy>("axpy");
    c.count<&Kernels::sum>("sum");
    c.count<&Kernels::sum_of_squares>("sum_of_squares");
    c.count<&Kernels::all_finite>("all_finite");
    c.count<&Kernels::matmul>("matmul");
    c.count<&Kernels::pack>("pack");
    c.count<&Kernels::matmul_packed>("matmul_packed");
    c.count<&Kernels::add_rows>("add_rows");
    c.count<&Kernels::sum_rows>("sum_rows");
    c.count<&Kernels::rms_norm_forward>("rms_norm_forward");
    c.count<&Kernels::rms_norm_backward>("rms_norm_backward");
    c.count<&Kernels::rope>("rope");
    c.count<&Kernels::swiglu_forward>("swiglu_forward");
    c.count<&Kernels::swiglu_backward>("swiglu_backward");
    c.count<&Kernels::attention_forward>("attention_forward");
    c.count<&Kernels::attention_backward>("attention_backward");
    c.count<&Kernels::cache_sizes>("cache_sizes");
    c.count<&Kernels::cache_append>("cache_append");
    c.count<&Kernels::cache_copy>("cache_copy");
    c.count<&Kernels::attention_cached>("attention_cached");
    c.count<&Kernels::gather_rows>("gather_rows");
    c.count<&Kernels::scatter_add_rows>("scatter_add_rows");
    c.count<&Kernels::logprob_forward>("logprob_forward");
    c.count<&Kernels::logprob_backward>("logprob_backward");
    c.count<&Kernels::sample>("sample");
    c.count<&Kernels::adamw>("adamw");
    return c;
  }();
  return all;
}

}  // namespace

const Kernels& kernels(Device device) {
  R1_CHECK(device == Device::cpu, "backend: this build has no {} backend", name_of(device));
  return counters().kernels;
}

namespace testing {
namespace {

// What no operation calls, and the file of tests/tensor that calls and checks it.
const std::map<std::string, std::string> kTestedAlone = {
    {"fill", "rows_test.cpp"},
    {"copy", "rows_test.cpp"},
    {"sum_of_squares", "rows_test.cpp"},
    {"all_finite", "rows_test.cpp"},
    {"cache_sizes", "attention_test.cpp"},
    {"cache_append", "attention_test.cpp"},
    {"cache_copy", "attention_test.cpp"},
    {"attention_cached", "attention_test.cpp"},
    {"sample", "sample_test.cpp"},
    {"adamw", "rows_test.cpp"},
};

// What operations and the harness use to make and move numbers: a call is no test of it.
const std::set<std::string> kPlumbing = {"fill", "copy"};

std::string file_text(const std::string& path) {
  std::ifstream file(R1_SOURCE_DIR "/" + path);
  EXPECT_TRUE(file.is_open()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Names in "(*name)(" of a struct's text.
std::set<std::string> function_pointers(const std::string& text) {
  std::set<std::string> names;
  for (std::size_t at = text.find("(*"); at != std::string::npos; at = text.find("(*", at + 1)) {
    const std::size_t end = text.find(')', at);
    if (text.compare(end, 2, ")(") == 0) names.insert(text.substr(at + 2, end - at - 2));
  }
  return names;
}

bool calls_member(const std::string& text, const std::string& name) {
  for (const char* before : {"::", ".", "->"})
    if (text.find(before + name + "(") != std::string::npos) return true;
  return false;
}

std::set<std::string> kernel_members() {
  const std::string text = file_text("tensor/kernels.h");
  const std::size_t begin = text.find("struct Kernels {"), end = text.find("\n};", begin);
  EXPECT_NE(end, std::string::npos);
  return function_pointers(text.substr(begin, end - begin));
}

TEST(KernelCoverage, EveryMemberIsCounted) {
  std::set<std::string> counted;
  for (const auto& [name, calls] : counters().calls) counted.insert(name);
  EXPECT_EQ(kernel_members(), counted) << "a new member? add it to counters()";
  // Nothing in the struct but the name and function pointers.
  EXPECT_EQ(sizeof(Kernels), sizeof(const char*) + counted.size() * sizeof(void (*)()));
}

TEST(KernelCoverage, EveryMemberHasATest) {
  for (const auto& [name, calls] : counters().calls) *calls = 0;
  for (const OpFamily& family : op_families()) {
    const OpCase c = family.make(3, 5);
    run(c, values_of(c, DType::f32), DType::f32, {.passes = 2});
  }
  for (const auto& [name, calls] : counters().calls) {
    const auto alone = kTestedAlone.find(name);
    if (alone == kTestedAlone.end()) {
      EXPECT_GT(*calls, 0) << name << " has no test: give it a case in op_table_test.cpp, or a "
                           << "test in tests/tensor and a line in kTestedAlone";
      continue;
    }
    EXPECT_TRUE(*calls == 0 || kPlumbing.count(name) > 0)
        << name << " is called by an operation now: drop it from kTestedAlone";
    EXPECT_TRUE(calls_member(file_text("tests/tensor/" + alone->second), name))
        << "tests/tensor/" << alone->second << " does not call " << name;
  }
}

}  // namespace
}  // namespace testing
}  // namespace r1
