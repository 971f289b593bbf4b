#include "autograd/ops.h"

namespace r1 {
namespace {

const Kernels& k(const Tensor& x) { return kernels(x.device()); }

bool wants_grad(const Tape* tape, const Tensor& x) { return tape != nullptr && tape->tracks(x); }
bool wants_grad(const Tape* tape, const Parameter& p) { return tape != nullptr && p.trainable; }

void check_ids(const char* op, const Tensor& ids, std::int64_t rows) {
  R1_CHECK(ids.dtype() == DType::i32 && ids.rank() == 1, "{}: ids {} {} must be (N) i32", op,
           name_of(ids.dtype()), ids.shape());
  const auto* p = ids.data<std::int32_t>();
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    R1_CHECK(p[i] >= 0 && p[i] < rows, "{}: id {} at place {} is not in [0, {})", op, p[i], i,
             rows);
  }
}

// dx (+)= dy w for y = x w^T; w is used in its own layout.
void linear_backward_input(Tape& tape, const Tensor& dy, const Tensor& x, const Tensor& w) {
  if (!tape.tracks(x)) return;
  bool fresh = false;
  Tensor& dx = tape.grad_uninitialised(x, fresh);
  Tensor dx_rows = dx.reshape({x.rows(), x.cols()});
  k(x).matmul(dy, Transpose::no, w, Transpose::no, dx_rows, !fresh);
}

}  // namespace

Tensor linear(const Tensor& x, Parameter& w, Parameter* bias) {
  const std::int64_t N = x.rows(), K = x.cols(), M = w.value.dim(0);
  R1_CHECK(w.value.rank() == 2 && w.value.dim(1) == K && w.value.dtype() == x.dtype(),
           "linear: weight {} {} does not fit x {} {}", name_of(w.value.dtype()), w.value.shape(),
           name_of(x.dtype()), x.shape());
  R1_CHECK(bias == nullptr || (bias->value.numel() == M && bias->value.dtype() == x.dtype()),
           "linear: bias {} {} does not fit weight {} {}", name_of(bias->value.dtype()),
           bias->value.shape(), name_of(w.value.dtype()), w.value.shape());
  Tensor y = Tensor::empty({N, M}, x.dtype(), x.device());
  k(x).matmul_packed(x, w.packed_transpose(), M, y, false);
  if (bias != nullptr) k(x).add_rows(bias->value, y);
  Tape* tape = Tape::current();
  if (wants_grad(tape, x) || wants_grad(tape, w) || (bias && wants_grad(tape, *bias))) {
    tape->record(y, [=, &w](const Tensor& dy) {
      if (w.trainable) {
        const Tensor rows = x.reshape({N, K});
        k(x).matmul(dy, Transpose::yes, rows, Transpose::no, w.gradient(), true);
      }
      if (bias != nullptr && bias->trainable) k(x).sum_rows(dy, bias->gradient());
      linear_backward_input(*tape, dy, x, w.value);
    });
  }
  return y;
}

Tensor embedding(Parameter& table, const Tensor& ids) {
  R1_CHECK(table.value.rank() == 2, "embedding: table {} must be (V, D)", table.value.shape());
  check_ids("embedding", ids, table.value.dim(0));
  Tensor y = Tensor::empty({ids.numel(), table.value.dim(1)}, table.value.dtype());
  k(y).gather_rows(table.value, ids, y);
  Tape* tape = Tape::current();
  if (wants_grad(tape, table)) {
    tape->record(
        y, [ids, &table](const Tensor& dy) { k(dy).scatter_add_rows(dy, ids, table.gradient()); });
  }
  return y;
}

Tensor rms_norm(const Tensor& x, Parameter& w, double eps) {
  R1_CHECK(w.value.numel() == x.cols() && w.value.dtype() == x.dtype(),
           "rms_norm: weight {} {} does not fit x {} {}", name_of(w.value.dtype()), w.value.shape(),
           name_of(x.dtype()), x.shape());
  Tensor y = Tensor::empty_like(x);
  Tensor rstd = Tensor::empty({x.rows()}, stats_dtype(x.dtype()), x.device());
  k(x).rms_norm_forward(x, w.value, eps, y, rstd);
  Tape* tape = Tape::current();
  if (wants_grad(tape, x) || wants_grad(tape, w)) {
    tape->record(y, [=, &w](const Tensor& dy) {
      k(x).rms_norm_backward(dy, x, w.value, rstd, tape->grad(x), w.gradient());
    });
  }
  return y;
}

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  R1_CHECK(gate.shape() == up.shape() && gate.dtype() == up.dtype(),
           "swiglu: gate {} {} and up {} {} do not match", name_of(gate.dtype()), gate.shape(),
           name_of(up.dtype()), up.shape());
  Tensor y = Tensor::empty_like(gate);
  k(gate).swiglu_forward(gate, up, y);
  Tape* tape = Tape::current();
  if (wants_grad(tape, gate) || wants_grad(tape, up)) {
    tape->record(y, [=](const Tensor& dy) {
      Tensor dgate = Tensor::empty_like(gate), dup = Tensor::empty_like(up);
      k(gate).swiglu_backward(dy, gate, up, dgate, dup);
      tape->add_grad(gate, dgate);
      tape->add_grad(up, dup);
    });
  }
  return y;
}

Tensor swiglu_linear(const Tensor& gate, const Tensor& up, Parameter& w, Parameter* bias) {
  Tape* tape = Tape::current();
  Tensor y;
  {
    const Pause pause;
    y = linear(swiglu(gate, up), w, bias);
  }
  if (wants_grad(tape, gate) || wants_grad(tape, up) || wants_grad(tape, w) ||
      (bias != nullptr && wants_grad(tape, *bias))) {
    tape->record(y, [=, &w](const Tensor& dy) {
      const Kernels& kn = k(gate);
      Tensor h = Tensor::empty_like(gate);
      if (w.trainable) {
        kn.swiglu_forward(gate, up, h);
        kn.matmul(dy, Transpose::yes, h, Transpose::no, w.gradient(), true);
      }
      if (bias != nullptr && bias->trainable) kn.sum_rows(dy, bias->gradient());
      if (!tape->tracks(gate) && !tape->tracks(up)) return;
      kn.matmul(dy, Transpose::no, w.value, Transpose::no, h, false);  // d loss / d h
      Tensor dgate = Tensor::empty_like(gate), dup = Tensor::empty_like(up);
      kn.swiglu_backward(h, gate, up, dgate, dup);
      tape->add_grad(gate, dgate);
      tape->add_grad(up, dup);
    });
  }
  return y;
}

Tensor rope(const Tensor& x, const Tensor& positions, const RopeTable& table, std::int64_t heads) {
  R1_CHECK(heads > 0 && x.cols() == heads * 2 * table.cos.cols() &&
               table.cos.shape() == table.sin.shape(),
           "rope: x {} is not {} heads of twice the table's {} angles", x.shape(), heads,
           table.cos.cols());
  R1_CHECK(table.cos.dtype() == stats_dtype(x.dtype()) && table.sin.dtype() == table.cos.dtype(),
           "rope: the table is {}, x {} {} needs {}", name_of(table.cos.dtype()),
           name_of(x.dtype()), x.shape(), name_of(stats_dtype(x.dtype())));
  R1_CHECK(positions.numel() == x.rows(), "rope: {} positions for {} rows", positions.numel(),
           x.rows());
  check_ids("rope", positions, table.cos.rows());
  Tensor y = Tensor::empty_like(x);
  k(x).rope(x, positions, table.cos, table.sin, heads, false, y);
  Tape* tape = Tape::current();
  if (wants_grad(tape, x)) {
    // A rotation: its transpose is the rotation by the opposite angle.
    tape->record(y, [=, node = x.node()](const Tensor& dy) {
      Tensor dx = Tensor::empty_like(dy);
      k(dy).rope(dy, positions, table.cos, table.sin, heads, true, dx);
      tape->add_grad(node, dx);
    });
  }
  return y;
}

Tensor attention(const Tensor& q, const Tensor& key, const Tensor& v,
                 std::span<const Segment> segments, const AttentionShape& s) {
  R1_CHECK(s.kv_heads > 0 && s.heads % s.kv_heads == 0,
           "attention: {} query heads cannot share {} key/value heads", s.heads, s.kv_heads);
  R1_CHECK(q.dtype() == key.dtype() && q.dtype() == v.dtype(),
           "attention: q {} {}, k {} {}, v {} {} do not share a dtype", name_of(q.dtype()),
           q.shape(), name_of(key.dtype()), key.shape(), name_of(v.dtype()), v.shape());
  const std::int64_t N = q.rows();
  R1_CHECK(q.cols() == s.heads * s.key_dim && key.cols() == s.kv_heads * s.key_dim &&
               v.cols() == s.kv_heads * s.value_dim && key.rows() == N && v.rows() == N,
           "attention: q {}, k {}, v {} do not fit {} heads, {} key/value heads of {} and {}",
           q.shape(), key.shape(), v.shape(), s.heads, s.kv_heads, s.key_dim, s.value_dim);
  std::int64_t covered = 0;
  for (const Segment& seg : segments) {
    R1_CHECK(seg.begin == covered && seg.length >= 0 && seg.prefix_begin >= 0 &&
                 seg.prefix_length >= 0 && seg.prefix_begin + seg.prefix_length <= seg.begin,
             "attention: segments must cover the {} rows in order, prefixes before their users", N);
    covered += seg.length;
  }
  R1_CHECK(covered == N, "attention: segments cover {} of {} rows", covered, N);
  Tape* tape = Tape::current();
  const bool record = wants_grad(tape, q) || wants_grad(tape, key) || wants_grad(tape, v);
  Tensor o = Tensor::empty({N, s.heads * s.value_dim}, q.dtype(), q.device());
  Tensor lse = record ? Tensor::empty({s.heads, N}, stats_dtype(q.dtype())) : Tensor();
  k(q).attention_forward(q, key, v, segments, s, o, lse);
  if (record) {
    const Tensor output = o;
    const std::vector<Segment> layout(segments.begin(), segments.end());
    tape->record(o, [=](const Tensor& dout) {
      Tensor dq = Tensor::empty_like(q), dk = Tensor::empty_like(key), dv = Tensor::empty_like(v);
      k(q).attention_backward(dout, q, key, v, output, lse, layout, s, dq, dk, dv);
      tape->add_grad(q, dq);
      tape->add_grad(key, dk);
      tape->add_grad(v, dv);
    });
  }
  return o;
}

Tensor recompute(const std::function<Tensor(const Tensor&)>& block, const Tensor& x) {
  Tape* tape = Tape::current();
  if (tape == nullptr) return block(x);
  Tensor y;
  {
    const Pause pause;
    y = block(x);
  }
  tape->record(y, [=](const Tensor& dy) {
    Recording inner;
    Tensor input = x;
    inner.tape().watch(input);
    const Tensor output = block(input);
    inner.tape().backward(output, dy);
    tape->add_grad(x, inner.tape().gradient(input));
  });
  return y;
}

}  // namespace r1
