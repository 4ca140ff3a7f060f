// The threads that kernels run on: they spin between two calls of one step and sleep when it is
// over.
#pragma once

#include "foresight.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace qwen3_vl {

class Pool {
   public:
    // With `threads` in all: the one that calls is the first of them.
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // Calls `work(thread)` once on each thread, and returns when all have ended.
    template <typename Work>
    void run(const Work& work) {
        start([](const void* of, int thread) { (*static_cast<const Work*>(of))(thread); }, &work);
    }

    // Held by whoever uses the threads and the room: one call at a time.
    std::mutex& turn() { return turn_; }

    // Room to work in, on a cache line; what was in it is lost when it grows.
    void* room(std::size_t bytes);

    Foresight& foresight() { return foresight_; }

    // From the next call of `run` on, threads that wait bring near what they will read; null:
    // nothing. It is copied when a thread begins.
    void expect(const Soon* of_each) {
        expected_ = of_each;
        ++expectations_;
    }

   private:
    using Task = void (*)(const void* work, int thread);

    // What a waiting thread brings near, and how far it has come.
    struct Errand {
        Soon soon = {};
        std::size_t span = 0, at = 0;
        std::uint32_t number = 0;

        bool go_on();  // false: there is nothing left
    };

    template <typename Done>
    static bool spin(const Done& done, Errand& errand);

    void start(Task task, const void* work);
    void serve(int thread);
    void take(Errand& errand, int thread) const;

    // Each on its own cache line: what one thread writes must not slow what the others read.
    alignas(64) std::atomic<std::uint32_t> begun_{0};
    alignas(64) std::atomic<int> running_{0};
    alignas(64) std::atomic<int> asleep_{0};
    Task task_ = nullptr;
    const void* work_ = nullptr;
    const Soon* expected_ = nullptr;
    std::uint32_t expectations_ = 0;
    bool stopping_ = false;
    Errand errand_;  // of the thread that calls
    Foresight foresight_;
    std::vector<std::thread> workers_;
    std::mutex turn_;
    std::unique_ptr<unsigned char[]> room_;
    std::size_t room_bytes_ = 0;
};

}  // namespace qwen3_vl
