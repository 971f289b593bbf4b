// Our own thread pool. Work is split into tasks whose outputs do not overlap, so a result never
// depends on the number of threads or on who ran which task.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace r1 {

// Number of threads that parallel_for uses, the caller included. Default: the cores of the
// machine that this process may use. May be set above the number of cores.
int thread_count();
void set_thread_count(int n);

// A reference to a callable (no allocation); it must outlive the call.
class TaskRef {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, TaskRef>)
      TaskRef(F&& f)  // NOLINT(google-explicit-constructor): a call site passes a lambda
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* o, std::int64_t i, int worker) {
          (*static_cast<std::remove_reference_t<F>*>(o))(i, worker);
        }) {}
  void operator()(std::int64_t i, int worker) const { call_(object_, i, worker); }

 private:
  void* object_;
  void (*call_)(void*, std::int64_t, int);
};

// Calls task(i, worker) for i in [0, tasks), in any order, on up to thread_count() threads;
// worker in [0, thread_count()) names the thread, for scratch memory. Returns when all are done;
// the first exception of a task is rethrown here. A nested call runs on the calling thread alone.
void parallel_for(std::int64_t tasks, TaskRef task);

// Splits [0, n) into chunks whose borders are multiples of `grain` counted from 0, and calls
// f(begin, end) for each. Runs on the calling thread when there is only one chunk.
template <class F>
void parallel_ranges(std::int64_t n, std::int64_t grain, F&& f) {
  const std::int64_t chunks = (n + grain - 1) / grain;
  auto body = [&](std::int64_t c, int) {
    const std::int64_t begin = c * grain, end = begin + grain < n ? begin + grain : n;
    f(begin, end);
  };
  parallel_for(chunks, body);
}

}  // namespace r1
