#include "tensor/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "tensor/error.h"

namespace r1 {
namespace {

constexpr std::size_t kLarge = std::size_t{1} << 20;  // from here on: mmap, in huge pages
constexpr std::size_t kLargestStep = std::size_t{64} << 10;
constexpr std::size_t kSlack = std::size_t{64} << 20;

// Sizes are rounded so that blocks are reused between calls of nearly equal size: to 64 bytes,
// then to an eighth of the power of two below, at most to 64 KiB.
std::size_t rounded(std::size_t bytes) {
  if (bytes < 64) return 64;
  std::size_t step = 64;
  while (step * 8 < bytes && step < kLargestStep) step *= 2;
  return (bytes + step - 1) / step * step;
}

struct Pool {
  std::mutex mutex;
  std::multimap<std::size_t, void*> free_blocks;  // by size
  std::vector<memory::Account> accounts{{"other", 0, 0}};
  std::size_t in_use = 0, cached = 0, peak = 0;

  static Pool& get() {
    static Pool* pool = new Pool;  // outlives every static tensor
    return *pool;
  }
};

thread_local int current_account = 0;

void* system_allocate(std::size_t bytes) {
  if (bytes < kLarge) return std::aligned_alloc(64, bytes);
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  ::madvise(p, bytes, MADV_HUGEPAGE);  // a hint: failure changes nothing but speed
#endif
  return p;
}

void system_free(void* p, std::size_t bytes) {
  if (bytes < kLarge) std::free(p);
  else ::munmap(p, bytes);
}

void drop_cached(Pool& pool, std::size_t keep) {
  while (pool.cached > keep && !pool.free_blocks.empty()) {
    auto last = std::prev(pool.free_blocks.end());
    pool.cached -= last->first;
    system_free(last->second, last->first);
    pool.free_blocks.erase(last);
  }
}

}  // namespace

Storage::Storage(std::size_t bytes, Device device) : bytes_(rounded(bytes)), device_(device) {
  R1_CHECK(device == Device::cpu, "storage: this build has no {} backend", name_of(device));
  R1_CHECK(bytes <= (std::size_t{1} << 46), "storage: {} bytes are more than any machine has",
           bytes);
  Pool& pool = Pool::get();
  const std::lock_guard lock(pool.mutex);
  auto it = pool.free_blocks.lower_bound(bytes_);
  if (it != pool.free_blocks.end() && it->first <= bytes_ + bytes_ / 8) {
    bytes_ = it->first;
    data_ = it->second;
    pool.cached -= bytes_;
    pool.free_blocks.erase(it);
  } else {
    // Free blocks plus used ones stay at about the most that was ever in use.
    const std::size_t limit = std::max(pool.peak, pool.in_use + bytes_) + kSlack;
    const std::size_t others = pool.in_use + bytes_;
    drop_cached(pool, limit > others ? limit - others : 0);
    data_ = system_allocate(bytes_);
    if (data_ == nullptr) {
      drop_cached(pool, 0);
      data_ = system_allocate(bytes_);
    }
    R1_CHECK(data_ != nullptr,
             "out of memory: {} MiB asked for while {} MiB are in use; try a smaller batch",
             bytes_ >> 20, pool.in_use >> 20);
  }
  account_ = current_account;
  pool.in_use += bytes_;
  pool.peak = std::max(pool.peak, pool.in_use);
  memory::Account& a = pool.accounts[static_cast<std::size_t>(account_)];
  a.bytes += bytes_;
  a.peak = std::max(a.peak, a.bytes);
}

Storage::~Storage() {
  Pool& pool = Pool::get();
  const std::lock_guard lock(pool.mutex);
  pool.in_use -= bytes_;
  pool.accounts[static_cast<std::size_t>(account_)].bytes -= bytes_;
  pool.free_blocks.emplace(bytes_, data_);
  pool.cached += bytes_;
}

namespace memory {

Scope::Scope(const char* name) : previous_(current_account) {
  Pool& pool = Pool::get();
  const std::lock_guard lock(pool.mutex);
  auto it = std::find_if(pool.accounts.begin(), pool.accounts.end(),
                         [&](const Account& a) { return a.name == name; });
  if (it == pool.accounts.end()) it = pool.accounts.insert(it, Account{name, 0, 0});
  current_account = static_cast<int>(it - pool.accounts.begin());
}

Scope::~Scope() { current_account = previous_; }

std::vector<Account> accounts() {
  Pool& pool = Pool::get();
  const std::lock_guard lock(pool.mutex);
  return pool.accounts;
}

std::size_t bytes_in_use() {
  Pool& pool = Pool::get();
  const std::lock_guard lock(pool.mutex);
  return pool.in_use;
}

std::size_t peak_bytes() {
  Pool& pool = Pool::get();
  const std::lock_guard lock(pool.mutex);
  return pool.peak;
}

void reset_peak() {
  Pool& pool = Pool::get();
  const std::lock_guard lock(pool.mutex);
  pool.peak = pool.in_use;
  for (Account& a : pool.accounts) a.peak = a.bytes;
}

void release_cache() {
  Pool& pool = Pool::get();
  const std::lock_guard lock(pool.mutex);
  drop_cached(pool, 0);
}

}  // namespace memory
}  // namespace r1
