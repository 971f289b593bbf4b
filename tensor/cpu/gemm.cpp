// Matrix products: cuts C into blocks for the threads; the numbers are made in isa/gemm.cpp. Where
// the cuts lie never shows in the result, because every element is one chain over k.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "tensor/cpu/gemm.h"
#include "tensor/cpu/gemm_eigen.h"
#include "tensor/cpu/isa/isa.h"
#include "tensor/kernels.h"
#include "tensor/parallel.h"

namespace r1::cpu {
namespace {

using std::int64_t;

constexpr int64_t kGroupColumns = 512;  // of a block of C: its part of B fits the second cache
constexpr int64_t kBlockRows = 512;     // of a block of C, so that it stays in cache over k
constexpr int64_t kLeastRows = 56;      // of a block that is cut for more threads
constexpr int64_t kTaskWork = 1 << 19;  // multiply-adds that repay handing a task to a thread
constexpr int64_t kMemoryRows = 8;      // with fewer rows, reading B takes longer than the sums
// B packed for one product, not for many: at most this many numbers at a time.
constexpr int64_t kPackNumbers = int64_t{1} << 21;
constexpr int64_t kPackDepth = 2048;
constexpr int64_t kPackTask = 1 << 15;  // numbers that one thread packs at a time

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Memory that a thread keeps from call to call.
class Scratch {
 public:
  template <class T>
  T* get(int64_t numbers) {
    const std::size_t bytes = static_cast<std::size_t>(numbers) * sizeof(T);
    if (bytes > bytes_) {
      memory_.reset();
      bytes_ = 0;
      memory_.reset(::operator new(bytes, kAlign));
      bytes_ = bytes;
    }
    return static_cast<T*>(memory_.get());
  }

 private:
  static constexpr std::align_val_t kAlign{64};
  struct Free {
    void operator()(void* p) const { ::operator delete(p, kAlign); }
  };
  std::unique_ptr<void, Free> memory_;
  std::size_t bytes_ = 0;
};

thread_local Scratch tile_scratch;  // of a thread that computes
thread_local Scratch pack_scratch;  // of a thread that calls matmul

// op(B) as stored: element (k, j) is data[k * stride + j], or data[j * stride + k] transposed.
template <class T>
struct Operand {
  const T* data;
  int64_t stride;
  bool transposed;

  const T* at(int64_t i, int64_t j) const {
    return transposed ? data + j * stride + i : data + i * stride + j;
  }
};

template <class T>
Operand<T> operand(const Tensor& t, Transpose transpose) {
  return {t.data<T>(), t.cols(), transpose == Transpose::yes};
}

// Columns [0, n) and k [0, depth) of b as panels of depth * panel numbers.
template <class T>
void pack_panels(const Operand<T>& b, int64_t depth, int64_t n, T* packed) {
  const GemmIsa<T>& g = isa().of<T>().gemm;
  const int64_t panels = ceil_div(n, g.panel), size = depth * g.panel;
  const int64_t tasks = std::clamp<int64_t>(panels * size / kPackTask, 1, panels);
  parallel_for(tasks, [&](int64_t t, int) {
    for (int64_t p = panels * t / tasks; p < panels * (t + 1) / tasks; ++p) {
      const int64_t j = p * g.panel;
      g.pack_panel(b.at(0, j), b.stride, b.transposed, depth, std::min(g.panel, n - j),
                   packed + p * size);
    }
  });
}

// C (m, n) (+)= A (m, depth) B with B packed in panels of depth * panel numbers.
template <class T>
void product(const Operand<T>& a, const T* packed, int64_t m, int64_t n, int64_t depth, T* c,
             int64_t c_stride, bool accumulate) {
  const GemmIsa<T>& g = isa().of<T>().gemm;
  const int64_t panels = ceil_div(n, g.panel);
  int64_t row_blocks = ceil_div(m, kBlockRows), groups = ceil_div(n, kGroupColumns);
  if (const int threads = thread_count(); threads > 1) {
    const int64_t repaid = std::max(m, kMemoryRows) * n * depth / kTaskWork;
    const int64_t by_rows = std::min<int64_t>(4 * threads, repaid) / groups;
    row_blocks = std::max(row_blocks, std::min(by_rows, m / kLeastRows));
    const int64_t by_columns = std::min<int64_t>(2 * threads, repaid) / row_blocks;
    groups = std::max(groups, std::min(by_columns, panels));
  }
  parallel_for(row_blocks * groups, [&](int64_t t, int) {
    const int64_t r = t % row_blocks, q = t / row_blocks;
    const int64_t i0 = m * r / row_blocks, i1 = m * (r + 1) / row_blocks;
    const int64_t p0 = panels * q / groups, p1 = panels * (q + 1) / groups;
    GemmBlock<T> block;
    block.rows = i1 - i0;
    block.columns = std::min(n, p1 * g.panel) - p0 * g.panel;
    block.depth = depth;
    block.a = a.at(i0, 0);
    block.a_transposed = a.transposed;
    block.a_stride = a.stride;
    block.packed = packed + p0 * g.panel * depth;
    block.panel_stride = g.panel * depth;
    block.c = c + i0 * c_stride + p0 * g.panel;
    block.c_stride = c_stride;
    block.accumulate = accumulate;
    block.scratch = tile_scratch.get<T>(g.scratch);
    g.product(block);
  });
}

// True when there is nothing to add up; then C is 0 or stays.
template <class T>
bool empty_product(Tensor& c, int64_t depth, bool accumulate) {
  if (c.numel() == 0) return true;
  if (depth > 0) return false;
  if (!accumulate) std::memset(c.raw(), 0, c.bytes());
  return true;
}

bool use_eigen() {
  static const bool eigen = [] {
    const char* wanted = std::getenv("R1_GEMM");
    if (wanted == nullptr || *wanted == '\0' || std::strcmp(wanted, "own") == 0) return false;
    R1_CHECK(std::strcmp(wanted, "eigen") == 0, "R1_GEMM: '{}' is not known, use own or eigen",
             wanted);
    return true;
  }();
  return eigen;
}

}  // namespace

void matmul(const Tensor& a, Transpose ta, const Tensor& b, Transpose tb, Tensor& c,
            bool accumulate) {
  if (use_eigen()) return eigen::matmul(a, ta, b, tb, c, accumulate);
  dispatch_float(c.dtype(), "matmul", [&]<class T>() {
    const int64_t m = c.rows(), n = c.cols();
    const int64_t depth = tb == Transpose::yes ? b.cols() : b.rows();
    if (empty_product<T>(c, depth, accumulate)) return;
    const Operand<T> x = operand<T>(a, ta), y = operand<T>(b, tb);
    T* z = c.data<T>();
    const int64_t panel = isa().of<T>().gemm.panel;
    const int64_t panels = ceil_div(n, panel);
    const int64_t depth_blocks = ceil_div(depth, kPackDepth);
    const int64_t most_depth = ceil_div(depth, depth_blocks);
    const int64_t groups = std::min(panels, ceil_div(panels * panel * most_depth, kPackNumbers));
    const int64_t most_panels = ceil_div(panels, groups);
    T* packed = pack_scratch.get<T>(most_panels * panel * most_depth);
    for (int64_t q = 0; q < groups; ++q) {
      const int64_t j0 = panels * q / groups * panel;
      const int64_t j1 = std::min(n, panels * (q + 1) / groups * panel);
      for (int64_t d = 0; d < depth_blocks; ++d) {
        const int64_t k0 = depth * d / depth_blocks, k1 = depth * (d + 1) / depth_blocks;
        pack_panels<T>({y.at(k0, j0), y.stride, y.transposed}, k1 - k0, j1 - j0, packed);
        product<T>({x.at(0, k0), x.stride, x.transposed}, packed, m, j1 - j0, k1 - k0, z + j0, n,
                   accumulate || d > 0);
      }
    }
  });
}

Tensor pack(const Tensor& b, Transpose tb) {
  if (use_eigen()) return eigen::pack(b, tb);
  Tensor packed;
  dispatch_float(b.dtype(), "pack", [&]<class T>() {
    const int64_t depth = tb == Transpose::yes ? b.cols() : b.rows();
    const int64_t n = tb == Transpose::yes ? b.rows() : b.cols();
    const int64_t panel = isa().of<T>().gemm.panel;
    packed = Tensor::empty({ceil_div(n, panel), depth, panel}, b.dtype());
    if (packed.numel() > 0) pack_panels<T>(operand<T>(b, tb), depth, n, packed.data<T>());
  });
  return packed;
}

void matmul_packed(const Tensor& a, const Tensor& packed, std::int64_t n, Tensor& c,
                   bool accumulate) {
  if (use_eigen()) return eigen::matmul_packed(a, packed, n, c, accumulate);
  dispatch_float(c.dtype(), "matmul_packed", [&]<class T>() {
    if (empty_product<T>(c, packed.dim(1), accumulate)) return;
    product<T>(operand<T>(a, Transpose::no), packed.data<T>(), c.rows(), n, packed.dim(1),
               c.data<T>(), n, accumulate);
  });
}

}  // namespace r1::cpu
