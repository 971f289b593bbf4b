// Rules that the compiler does not check: who may include whom, what a library must not call, how
// long a file may be. The first tests plant every kind of violation; the last one reads the tree.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr int kMaxLines = 500;

// The arrows: a folder's files include those of these folders. apps, tests, bench and examples
// include any library.
const std::map<std::string, std::set<std::string>> kArrows = {
    {"tensor", {"tensor"}},
    {"data", {"data", "tensor"}},
    {"autograd", {"autograd", "tensor"}},
    {"nn", {"nn", "autograd", "data", "tensor"}},
    {"optim", {"optim", "autograd", "data", "tensor"}},
    {"rl", {"rl", "nn", "optim", "data", "autograd", "tensor"}},
};
const std::set<std::string> kOthers = {"apps", "tests", "bench", "examples"};

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}
bool ends_with(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}
bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}
bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
std::string top_folder(const std::string& path) { return path.substr(0, path.find('/')); }

// Whether a folder is part of what ships.
bool is_product(const std::string& folder) { return kArrows.count(folder) || folder == "apps"; }

Strings lines_of(const std::string& text) {
  Strings lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// The text with comments and the insides of literals blanked, line breaks kept.
std::string code_of(const std::string& text) {
  std::string code = text;
  const auto blank = [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < std::min(end, code.size()); ++i)
      if (code[i] != '\n') code[i] = ' ';
  };
  for (std::size_t i = 0; i < text.size();) {
    const std::string_view rest = std::string_view(text).substr(i);
    std::size_t end = i + 1;
    if (starts_with(rest, "//")) {
      blank(i, end = std::min(text.find('\n', i), text.size()));
    } else if (starts_with(rest, "/*")) {
      end = text.find("*/", i + 2);
      blank(i, end = end == std::string::npos ? text.size() : end + 2);
    } else if (starts_with(rest, "R\"")) {
      const std::size_t open = std::min(text.find('(', i), text.size());
      const std::string close = ")" + text.substr(i + 2, open - i - 2) + "\"";
      end = text.find(close, open);
      blank(i, end = end == std::string::npos ? text.size() : end + close.size());
    } else if (rest[0] == '"' || (rest[0] == '\'' && (i == 0 || !is_word(text[i - 1])))) {
      while (end < text.size() && text[end] != rest[0] && text[end] != '\n')
        end += text[end] == '\\' ? 2 : 1;
      blank(i + 1, end);
      ++end;
    }
    i = end;
  }
  return code;
}

// Whether a line of code calls the free function `name` (a method x.name() is another thing).
bool calls(const std::string& code, std::string_view name) {
  for (std::size_t at = code.find(name); at != std::string::npos; at = code.find(name, at + 1)) {
    if (at > 0 && (is_word(code[at - 1]) || code[at - 1] == '.' || code[at - 1] == '>')) continue;
    const std::size_t next = code.find_first_not_of(' ', at + name.size());
    if (next != std::string::npos && code[next] == '(') return true;
  }
  return false;
}

// The path between the quotes or brackets of an #include; with its opening character in front.
std::string include_of(const std::string& line) {
  std::istringstream in(line);
  std::string word;
  in >> word;
  if (word != "#include") return "";
  in >> word;
  return word.size() > 2 ? word.substr(0, word.size() - 1) : "";
}

void check_include(const std::string& path, const std::string& include, Strings& found) {
  const std::string folder = top_folder(path), target = include.substr(1);
  if (starts_with(path, "tensor/cpu/isa/") && !starts_with(target, "tensor/cpu/isa/") &&
      target != "stdint.h" && target != "stddef.h")
    found.push_back("kernels include nothing but tensor/cpu/isa and <stdint.h>, <stddef.h>");
  if (starts_with(target, "Eigen/") && folder != "tests" && folder != "bench" &&
      path != "tensor/cpu/gemm_eigen.cpp")
    found.push_back("Eigen is the reference of tests and benchmarks");
  if (target == "regex" && is_product(folder))
    found.push_back("std::regex recurses once per character");
  for (const char* cuda :
       {"cuda", "cublas", "nccl", "curand", "nvrtc", "cooperative_groups", "cub/"})
    if (starts_with(target, cuda) && !contains(path, "/cuda/"))
      found.push_back("CUDA headers stay in */cuda/");
  if (include[0] != '"') return;
  const std::string layer = top_folder(target);
  if (kArrows.count(folder) && !kArrows.at(folder).count(layer))
    found.push_back(folder + " may not include " + target);
}

void check_code(const std::string& path, const std::string& code, Strings& found) {
  if (kArrows.count(top_folder(path))) {
    for (const char* name : {"printf", "puts", "putchar", "perror", "fmt::print"})
      if (calls(code, name)) found.push_back("a library does not print");
    for (const char* name : {"std::cout", "std::cerr", "std::clog", "stdout", "stderr"})
      if (contains(code, name)) found.push_back("a library does not print");
    for (const char* name : {"exit", "_exit", "quick_exit", "abort", "std::terminate"})
      if (calls(code, name)) found.push_back("a library does not end the program");
  }
  if (is_product(top_folder(path))) {
    for (const char* name :
         {"atoi", "atof", "sscanf", "sprintf", "strcpy", "strcat", "rand", "system"})
      if (calls(code, name)) found.push_back(std::string(name) + "() is unsafe");
    for (const char* name :
         {"atomic<float", "atomic<double", "atomic_ref<float", "atomic_ref<double"})
      if (contains(code, name)) found.push_back("sums of threads are ordered: no float atomics");
    if (contains(code, "std::regex")) found.push_back("std::regex recurses once per character");
  }
  if (ends_with(path, ".h") && contains(code, "using namespace"))
    found.push_back("no using namespace in a header");
}

// What is wrong with one file, as "path:line: rule".
Strings check_file(const std::string& path, const std::string& text) {
  Strings found;
  const Strings lines = lines_of(text), codes = lines_of(code_of(text));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    Strings here;
    const std::string include = include_of(lines[i]);
    if (!include.empty()) check_include(path, include, here);
    check_code(path, codes[i], here);
    for (const std::string& rule : here)
      found.push_back(path + ":" + std::to_string(i + 1) + ": " + rule);
  }
  if (lines.size() > kMaxLines) found.push_back(path + ": more than 500 lines");
  if (ends_with(path, ".h") && !contains(text, "#pragma once"))
    found.push_back(path + ": no #pragma once");
  return found;
}

// What is wrong in the folders of the project under root.
Strings check_tree(const fs::path& root) {
  Strings found;
  std::set<std::string> folders = kOthers;
  for (const auto& [name, arrows] : kArrows) folders.insert(name);
  for (const std::string& name : folders) {
    if (!fs::exists(root / name) || fs::is_empty(root / name)) continue;
    if (!fs::exists(root / name / "README.md")) found.push_back(name + ": no README.md");
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / name)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh")
        continue;
      std::ifstream in(entry.path(), std::ios::binary);
      const std::string text(std::istreambuf_iterator<char>(in), {});
      const Strings more = check_file(entry.path().lexically_relative(root).generic_string(), text);
      found.insert(found.end(), more.begin(), more.end());
    }
  }
  return found;
}

// The number of violations in a file of one line (a header gets its #pragma once).
std::size_t count(const std::string& path, const std::string& line) {
  return check_file(path, line + (ends_with(path, ".h") ? "\n#pragma once\n" : "\n")).size();
}

TEST(Layering, Arrows) {
  for (const auto& [from, allowed] : kArrows) {
    for (const auto& [to, unused] : kArrows)
      EXPECT_EQ(count(from + "/x.cpp", "#include \"" + to + "/y.h\""), allowed.count(to) ? 0u : 1u)
          << from << " -> " << to;
    EXPECT_EQ(count(from + "/x.h", "#include \"apps/y.h\""), 1u);
    EXPECT_EQ(count(from + "/x.h", "#include \"tests/reference/y.h\""), 1u);
    EXPECT_EQ(count(from + "/x.h", "#include \"y.h\""), 1u) << "includes start at the root";
    EXPECT_EQ(count(from + "/x.h", "#include <vector>"), 0u);
  }
  EXPECT_EQ(count("apps/x.cpp", "#include \"rl/y.h\""), 0u);
}

TEST(Layering, ForeignHeaders) {
  EXPECT_EQ(count("nn/x.cpp", "#include <cuda_runtime.h>"), 1u);
  EXPECT_EQ(count("apps/x.cpp", "#include <cublasLt.h>"), 1u);
  EXPECT_EQ(count("tensor/cuda/x.cu", "#include <cuda_runtime.h>"), 0u);
  EXPECT_EQ(count("tensor/cpu/gemm.cpp", "#include <Eigen/Core>"), 1u);
  EXPECT_EQ(count("apps/x.cpp", "#include <Eigen/Core>"), 1u);
  EXPECT_EQ(count("tensor/cpu/gemm_eigen.cpp", "#include <Eigen/Core>"), 0u);
  EXPECT_EQ(count("tests/tensor/x_test.cpp", "#include <Eigen/Core>"), 0u);
  EXPECT_EQ(count("data/x.cpp", "#include <regex>"), 1u);
}

TEST(Layering, KernelsStayPlain) {
  EXPECT_EQ(count("tensor/cpu/isa/x.cpp", "#include <cmath>"), 1u);
  EXPECT_EQ(count("tensor/cpu/isa/x.cpp", "#include <algorithm>"), 1u);
  EXPECT_EQ(count("tensor/cpu/isa/x.h", "#include \"tensor/tensor.h\""), 1u);
  EXPECT_EQ(count("tensor/cpu/isa/x.cpp", "#include \"tensor/cpu/isa/vec.h\""), 0u);
  EXPECT_EQ(count("tensor/cpu/isa/x.cpp", "#include <stdint.h>"), 0u);
}

TEST(Layering, LibrariesNeitherPrintNorEnd) {
  for (const char* line :
       {"printf(\"x\");", "std::printf (\"x\");", "puts(\"x\");", "fmt::print(\"x\");",
        "std::cout << 1;", "std::cerr << 1;", "fputs(text, stderr);", "exit(1);", "std::exit(1);",
        "::_exit(1);", "abort();", "std::abort();"}) {
    EXPECT_EQ(count("data/x.cpp", line), 1u) << line;
    EXPECT_EQ(count("apps/x.cpp", line), 0u) << line;
  }
  for (const char* line :
       {"snprintf(b, n, \"x\");", "writer.abort();", "on_exit(1);", "// exit(1);",
        "text = \"printf(1)\";", "/* abort() */ f();", "text = R\"(exit(1))\";",
        "const char c = '\"'; g(\"\\\"exit(1)\");", "int n = 1'000; // it's abort()"})
    EXPECT_EQ(count("data/x.cpp", line), 0u) << line;
  EXPECT_EQ(count("data/x.cpp", "int n = 1'000; abort();"), 1u);
  EXPECT_EQ(count("data/x.cpp", "text = \"a\\\"\"; abort();"), 1u);
}

TEST(Layering, ForbiddenConstructs) {
  EXPECT_EQ(count("apps/x.cpp", "std::atomic<float> sum;"), 1u);
  EXPECT_EQ(count("tensor/x.cpp", "std::atomic_ref<double> sum(x);"), 1u);
  EXPECT_EQ(count("tensor/x.cpp", "std::atomic<int> next;"), 0u);
  EXPECT_EQ(count("apps/x.cpp", "std::regex r;"), 1u);
  EXPECT_EQ(count("tests/nn/x_test.cpp", "std::regex r;"), 0u);
  EXPECT_EQ(count("apps/x.cpp", "atoi(s);"), 1u);
  EXPECT_EQ(count("bench/x.cpp", "atoi(s);"), 0u);
  EXPECT_EQ(count("apps/x.cpp", "std::system(s);"), 1u);
  EXPECT_EQ(count("nn/x.h", "using namespace std;"), 1u);
  EXPECT_EQ(count("nn/x.cpp", "using namespace std::literals;"), 0u);
  EXPECT_EQ(check_file("nn/x.h", "int f();\n").size(), 1u) << "no #pragma once";
}

TEST(Layering, LinesAreCountedAndNamed) {
  const std::string line = "int x;\n";
  std::string text;
  for (int i = 0; i < kMaxLines; ++i) text += line;
  EXPECT_EQ(check_file("nn/x.cpp", text).size(), 0u);
  EXPECT_EQ(check_file("nn/x.cpp", text + line).size(), 1u);
  EXPECT_EQ(check_file("nn/x.cpp", "int x;\nabort();\n").at(0),
            "nn/x.cpp:2: a library does not end the program");
}

TEST(Layering, TreeIsWalked) {
  const fs::path root = fs::path(testing::TempDir()) / "r1_layering_test";
  fs::remove_all(root);
  fs::create_directories(root / "tensor/cpu");
  std::ofstream(root / "tensor/cpu/x.cpp") << "#include \"nn/y.h\"\n";
  EXPECT_EQ(check_tree(root),
            (Strings{"tensor: no README.md", "tensor/cpu/x.cpp:1: tensor may not include nn/y.h"}));
  std::ofstream(root / "tensor/README.md") << "# tensor\n";
  std::ofstream(root / "tensor/cpu/x.cpp") << "#include \"tensor/y.h\"\n";
  EXPECT_EQ(check_tree(root), Strings{});
  fs::remove_all(root);
}

TEST(Layering, ThisTree) {
  const fs::path root = R1_SOURCE_DIR;
  ASSERT_TRUE(fs::exists(root / "tensor/tensor.h"));
  for (const std::string& violation : check_tree(root)) ADD_FAILURE() << violation;
}

}  // namespace
