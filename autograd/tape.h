// Reverse-mode differentiation: a linear record of what was computed, replayed backwards.
// Nothing is recorded unless a Recording is alive on this thread.
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "tensor/tensor.h"

namespace r1 {

class Tape {
 public:
  // Receives d loss / d output and adds to the gradients of the inputs.
  using Backward = std::function<void(const Tensor& dy)>;

  // The tape that operations record on now; null when nothing records.
  static Tape* current();

  // Makes y a node of this tape.
  void record(Tensor& y, Backward backward);
  // Makes x a node without inputs whose gradient is kept: gradient(x) after backward.
  void watch(Tensor& x);

  // True when gradients flow to x: x was watched on this tape, or recorded and not yet replayed.
  bool tracks(const Tensor& x) const { return tracks(x.node()); }
  bool tracks(std::int64_t node) const;

  // The accumulator of d loss / d x for a backward closure to add to: zeros at first.
  // Undefined when x is not tracked: kernels skip an undefined output.
  Tensor& grad(const Tensor& x);
  // The same, for kernels that can overwrite: `fresh` tells that the numbers are still undefined.
  Tensor& grad_uninitialised(const Tensor& x, bool& fresh);
  // Adds dx to the gradient of x, taking it over without a copy when it is the first.
  void add_grad(const Tensor& x, const Tensor& dx);
  // The same by identity, for closures that need not keep the numbers of x alive; dx has x's shape.
  void add_grad(std::int64_t node, const Tensor& dx);
  Tensor gradient(const Tensor& x) const;  // of a watched tensor; zeros when none arrived

  // Replays from the end. dy is d loss / d output; a number for a scalar loss. Each closure is
  // destroyed as soon as it has run, so activations are freed while backward proceeds. Afterwards
  // the tape holds the watched tensors alone: it may record and replay once more, and their
  // gradients add up. Throws Error when the output was not recorded here, or was replayed already.
  void backward(const Tensor& output, const Tensor& dy);
  void backward(const Tensor& loss, double seed = 1);

 private:
  friend class Recording;
  struct Node {
    std::int64_t id;
    Backward backward;
  };
  std::vector<Node> nodes_;  // id ascending
  std::unordered_map<std::int64_t, Tensor> grads_;
  Tensor none_;
};

// Records on a new tape while it lives. Recordings nest: the inner one has its own tape.
class Recording {
 public:
  Recording();
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  Tape& tape() { return tape_; }
  void backward(const Tensor& loss, double seed = 1) { tape_.backward(loss, seed); }

 private:
  Tape tape_;
  Tape* previous_;
};

// Stops recording while it lives.
class Pause {
 public:
  Pause();
  ~Pause();
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  Tape* previous_;
};

}  // namespace r1
