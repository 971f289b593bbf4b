#include "tensor/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace r1 {
namespace {

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

thread_local bool inside_task = false;

// One job at a time. A worker enters (inside_ + 1), looks whether a job is open, takes task
// numbers until none is left, and leaves. The caller closes the job and waits for the last
// worker, so nobody can still hold the caller's lambda when parallel_for returns.
class Pool {
 public:
  explicit Pool(int threads) {
    spin_ = threads <= available_cores() ? 4000 : 0;
    for (int w = 1; w < threads; ++w) workers_.emplace_back([this, w] { work(w); });
  }
  ~Pool() {
    stop_.store(true);
    generation_.fetch_add(1);
    generation_.notify_all();
    for (std::thread& t : workers_) t.join();
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  void run(std::int64_t tasks, TaskRef task) {
    task_ = &task;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    error_ = nullptr;
    open_.store(true);
    generation_.fetch_add(1);
    generation_.notify_all();
    take_tasks(0);
    open_.store(false);
    for (int spin = 0; inside_.load() != 0; ++spin) {
      if (spin < spin_) {
        pause_cpu();
      } else if (const int n = inside_.load(); n != 0) {
        inside_.wait(n);
      }
    }
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void take_tasks(int worker) {
    inside_task = true;
    for (;;) {
      const std::int64_t i = next_.fetch_add(1);
      if (i >= tasks_) break;
      try {
        (*task_)(i, worker);
      } catch (...) {
        const std::lock_guard lock(error_mutex_);
        if (!error_) error_ = std::current_exception();
        next_.store(tasks_);
      }
    }
    inside_task = false;
  }

  void work(int worker) {
    std::uint32_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < spin_ && generation_.load() == seen; ++spin) pause_cpu();
      generation_.wait(seen);
      seen = generation_.load();
      if (stop_.load()) return;
      inside_.fetch_add(1);
      if (open_.load()) take_tasks(worker);
      if (inside_.fetch_sub(1) == 1) inside_.notify_all();
    }
  }

  std::vector<std::thread> workers_;
  int spin_ = 0;
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<bool> open_{false}, stop_{false};
  std::atomic<int> inside_{0};
  std::atomic<std::int64_t> next_{0};
  const TaskRef* task_ = nullptr;
  std::int64_t tasks_ = 0;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

struct Shared {
  std::mutex mutex;  // held while a job runs
  std::atomic<int> threads{available_cores()};
  std::unique_ptr<Pool> pool;
};

Shared& shared() {
  static Shared s;
  return s;
}

}  // namespace

int thread_count() { return shared().threads.load(); }

void set_thread_count(int n) {
  Shared& s = shared();
  const std::lock_guard lock(s.mutex);
  n = std::clamp(n, 1, 1024);
  if (n != s.threads.load()) s.pool.reset();
  s.threads.store(n);
}

void parallel_for(std::int64_t tasks, TaskRef task) {
  if (tasks <= 0) return;
  Shared& s = shared();
  // A second caller does not wait for the first: it does its own work alone.
  std::unique_lock lock(s.mutex, std::defer_lock);
  if (tasks == 1 || inside_task || !lock.try_lock() || s.threads.load() == 1) {
    for (std::int64_t i = 0; i < tasks; ++i) task(i, 0);
    return;
  }
  if (!s.pool) s.pool = std::make_unique<Pool>(s.threads.load());
  s.pool->run(tasks, task);
}

}  // namespace r1
