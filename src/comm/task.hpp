// Work that waits for messages without holding up other work: a coroutine that is advanced now and then.
//
//   Task<int> sum = sum_over_ranks(comm, 3);    // runs up to its first message
//   while (!sum.advance()) compute_something();
//   use(sum.take());
//
// finish(sum_over_ranks(comm, 3)) is the same as a blocking call. There is one thread; a task runs only inside advance().
#pragma once

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "comm/waiting.hpp"

namespace asymptop {

/// Something that goes on beside other work.
class InFlight {
 public:
  /// Makes what progress it can without waiting; true when it is done. Throws RunError when MPI reports an error.
  virtual bool advance() = 0;

 protected:
  ~InFlight() = default;
};

/// How often tasks have gone on so far: whether anything has moved. Other threads may look.
inline std::atomic<std::int64_t> task_steps = 0;

namespace detail {

/// What promises of all results share.
struct TaskPromise {
  InFlight* waits_for = nullptr;
  bool runs = true;  ///< a task starts at once
  std::exception_ptr error;

  /// Waits for something in flight, whose take() gives the result of co_await. It lives in the coroutine's frame meanwhile.
  template <class Step>
  struct Wait {
    Step& step;
    TaskPromise& promise;
    bool await_ready() { return step.advance(); }
    void await_suspend(std::coroutine_handle<>) {
      promise.waits_for = &step;
      promise.runs = false;
    }
    decltype(auto) await_resume() {
      promise.waits_for = nullptr;
      return step.take();
    }
  };

  std::suspend_never initial_suspend() noexcept { return {}; }
  std::suspend_always final_suspend() noexcept {
    runs = false;
    return {};
  }
  void unhandled_exception() { error = std::current_exception(); }
  template <class Step>
  Wait<std::remove_reference_t<Step>> await_transform(Step&& step) {
    return {step, *this};
  }
};

template <class T>
struct TaskResult : TaskPromise {
  std::optional<T> result;
  void return_value(T value) { result = std::move(value); }
  T take() { return std::move(*result); }
};

template <>
struct TaskResult<void> : TaskPromise {
  void return_void() {}
  void take() {}
};

}  // namespace detail

/// A coroutine with a result. It starts when it is called and is destroyed with this object.
template <class T>
class [[nodiscard]] Task final : public InFlight {
 public:
  struct promise_type : detail::TaskResult<T> {
    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
  };

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  /// A task that runs at this moment, further up the stack, stays as it is.
  bool advance() override {
    auto& promise = handle_.promise();
    while (!handle_.done()) {
      if (promise.runs || !promise.waits_for->advance()) return false;
      promise.runs = true;
      ++task_steps;
      handle_.resume();
    }
    return true;
  }

  bool done() const { return handle_.done(); }

  /// The result of a task that is done, once; throws what the task threw.
  T take() {
    if (handle_.promise().error) std::rethrow_exception(handle_.promise().error);
    return handle_.promise().take();
  }

 private:
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

/// Waits for a task. Where ranks share cores it leaves its own to others meanwhile, as MPI may do where it is told to
/// (mpi_yield_when_idle).
template <class T>
T finish(Task<T> task) {
  std::int64_t steps = task_steps;
  for (Waiting waiting; !task.advance(); steps = task_steps) {
    if (task_steps != steps) waiting.reset();
    waiting.pause();
  }
  return task.take();
}

/// The same, and adds the seconds in which no task could go on: what is not hidden behind work.
template <class T>
T finish(Task<T> task, double& exposed_seconds) {
  using Clock = std::chrono::steady_clock;
  Waiting waiting;
  for (auto begin = Clock::now(), end = begin;; begin = end) {
    std::int64_t const steps = task_steps;
    bool const done = task.advance(), moved = task_steps != steps;
    if (moved) waiting.reset();
    if (!done) waiting.pause();
    end = Clock::now();
    if (!moved) exposed_seconds += std::chrono::duration<double>(end - begin).count();
    if (done) return task.take();
  }
}

}  // namespace asymptop
