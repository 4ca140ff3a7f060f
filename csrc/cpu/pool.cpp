#include "pool.h"

#include <chrono>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace qwen3_vl {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto patience = std::chrono::microseconds(500);  // longer than any gap within a step
constexpr int pauses_per_look = 64;

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

}  // namespace

// Some lines at a time: between them the thread looks whether it is called.
bool Pool::Errand::go_on() {
    constexpr std::size_t line = 64, lines = 4;
    if (span == soon.size() || soon[span].bytes == 0) return false;
#if defined(__GNUC__)
    for (std::size_t i = 0; i < lines; ++i) __builtin_prefetch(soon[span].at + at + i * line, 0, 2);
#endif
    at += lines * line;
    if (at >= soon[span].bytes) {
        ++span;
        at = 0;
    }
    return true;
}

// An errand that is the same as before goes on where it was.
void Pool::take(Errand& errand, int thread) const {
    if (errand.number == expectations_) return;
    errand = {expected_ ? expected_[thread] : Soon{}, 0, 0, expectations_};
}

// Spins until `done()`, but no longer than the patience: says whether it is.
template <typename Done>
bool Pool::spin(const Done& done, Errand& errand) {
    const auto end = Clock::now() + patience;
    do {
        for (int i = 0; i < pauses_per_look; ++i) {
            if (done()) return true;
            if (!errand.go_on()) pause();
        }
    } while (Clock::now() < end);
    return done();
}

Pool::Pool(int threads) {
    for (int thread = 1; thread < threads; ++thread) {
        workers_.emplace_back([this, thread] { serve(thread); });
    }
}

Pool::~Pool() {
    stopping_ = true;
    begun_.fetch_add(1);
    begun_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

void* Pool::room(std::size_t bytes) {
    constexpr std::size_t line = 64;
    if (bytes > room_bytes_) {
        room_.reset();  // before the new one: they need not be there together
        room_.reset(new unsigned char[bytes + line]);
        room_bytes_ = bytes;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(room_.get());
    return reinterpret_cast<void*>((address + line - 1) / line * line);
}

void Pool::start(Task task, const void* work) {
    if (workers_.empty()) return task(work, 0);
    task_ = task;
    work_ = work;
    take(errand_, 0);
    running_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
    begun_.fetch_add(1);  // sequentially consistent with asleep_: nobody sleeps through a call
    if (asleep_.load() > 0) begun_.notify_all();
    task(work, 0);
    const auto ended = [this] { return running_.load(std::memory_order_acquire) == 0; };
    while (!spin(ended, errand_)) std::this_thread::yield();  // more threads than cores
}

void Pool::serve(int thread) {
    std::uint32_t seen = 0;
    Errand errand;
    for (;;) {
        const auto called = [this, seen] { return begun_.load(std::memory_order_acquire) != seen; };
        while (!spin(called, errand)) {
            asleep_.fetch_add(1);
            begun_.wait(seen);
            asleep_.fetch_sub(1);
        }
        ++seen;
        if (stopping_) return;
        take(errand, thread);
        task_(work_, thread);
        running_.fetch_sub(1, std::memory_order_release);
    }
}

}  // namespace qwen3_vl
