#include "autograd/tape.h"

#include <algorithm>
#include <atomic>

#include "tensor/kernels.h"

namespace r1 {
namespace {

thread_local Tape* current_tape = nullptr;

// Identities are unique in the process, so a tensor of one tape means nothing to another.
std::atomic<std::int64_t> next_node{1};

}  // namespace

Tape* Tape::current() { return current_tape; }

void Tape::record(Tensor& y, Backward backward) {
  y.set_node(next_node.fetch_add(1));
  nodes_.push_back({y.node(), std::move(backward)});
}

void Tape::watch(Tensor& x) { record(x, nullptr); }

bool Tape::tracks(std::int64_t node) const {
  const auto it = std::lower_bound(nodes_.begin(), nodes_.end(), node,
                                   [](const Node& n, std::int64_t id) { return n.id < id; });
  return it != nodes_.end() && it->id == node;
}

Tensor& Tape::grad(const Tensor& x) {
  bool fresh = false;
  Tensor& g = grad_uninitialised(x, fresh);
  if (fresh) g.fill(0);
  return g;
}

Tensor& Tape::grad_uninitialised(const Tensor& x, bool& fresh) {
  fresh = false;
  if (!tracks(x)) return none_ = Tensor();
  Tensor& g = grads_[x.node()];
  if (!g.defined()) {
    g = Tensor::empty_like(x);
    fresh = true;
  } else if (!g.unique()) {
    g = g.clone();  // taken over by add_grad from a tensor that others still hold
  }
  return g;
}

void Tape::add_grad(const Tensor& x, const Tensor& dx) {
  if (tracks(x)) add_grad(x.node(), dx.shape() == x.shape() ? dx : dx.reshape(x.shape()));
}

void Tape::add_grad(std::int64_t node, const Tensor& dx) {
  if (!tracks(node)) return;
  Tensor& g = grads_[node];
  if (!g.defined()) {
    g = dx;
    g.set_node(0);
    return;
  }
  if (!g.unique()) g = g.clone();
  kernels(g.device()).axpy(1.0, dx, g);
}

Tensor Tape::gradient(const Tensor& x) const {
  const auto it = grads_.find(x.node());
  return it == grads_.end() ? Tensor::zeros_like(x) : it->second;
}

void Tape::backward(const Tensor& output, const Tensor& dy) {
  R1_CHECK(tracks(output),
           "backward: the output {} was not recorded on this tape, or backward has already run",
           output.shape());
  R1_CHECK(dy.shape() == output.shape() && dy.dtype() == output.dtype(),
           "backward: gradient {} {} does not fit the output {} {}", name_of(dy.dtype()),
           dy.shape(), name_of(output.dtype()), output.shape());
  add_grad(output, dy);
  const Pause pause;
  std::vector<Node> watched;
  while (!nodes_.empty()) {
    Node node = std::move(nodes_.back());
    nodes_.pop_back();
    if (!node.backward) {  // watched: its gradient stays
      watched.push_back(std::move(node));
      continue;
    }
    const auto it = grads_.find(node.id);
    if (it == grads_.end()) continue;  // nothing reached it
    const Tensor dy_node = std::move(it->second);
    grads_.erase(it);
    node.backward(dy_node);
  }
  nodes_.assign(watched.rbegin(), watched.rend());
}

void Tape::backward(const Tensor& loss, double seed) {
  R1_CHECK(loss.defined() && loss.numel() == 1, "backward: the loss has shape {}, not one number",
           loss.shape());
  backward(loss, Tensor::full(loss.shape(), seed, loss.dtype()));
}

Recording::Recording() : previous_(current_tape) { current_tape = &tape_; }
Recording::~Recording() { current_tape = previous_; }

Pause::Pause() : previous_(current_tape) { current_tape = nullptr; }
Pause::~Pause() { current_tape = previous_; }

}  // namespace r1
