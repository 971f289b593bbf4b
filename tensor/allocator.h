// Memory of tensors: blocks are kept for reuse when freed, and every byte is counted under a name.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tensor/device.h"

namespace r1 {

// One block of memory, 64-byte aligned, given back when the last handle goes.
class Storage {
 public:
  Storage(std::size_t bytes, Device device);  // throws Error when memory is short
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() { return data_; }
  const void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_;
  int account_ = 0;
};

namespace memory {

// Allocations of this thread are counted under `name` while the scope lives; scopes nest.
// Names are few and constant ("weights", "gradients", "optimizer", "activations", "kv cache").
class Scope {
 public:
  explicit Scope(const char* name);
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  int previous_;
};

struct Account {
  std::string name;
  std::size_t bytes = 0;  // now
  std::size_t peak = 0;   // the most this account ever held
};

std::vector<Account> accounts();  // in order of first use
std::size_t bytes_in_use();
std::size_t peak_bytes();  // the most that was in use at one time
void reset_peak();
void release_cache();  // gives free blocks back to the system

}  // namespace memory
}  // namespace r1
