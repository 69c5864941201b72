// Notices that another host has fallen silent: a cut link, a host without power. TCP gives up after a quarter of an hour, and MPI with it.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace asymptop {

/// A thread that looks at this process's TCP connections to other hosts once a second. Keepalive probes, which it turns on, make a living
/// host answer every few seconds whatever its processes do; one that has answered nothing for some 10 s counts as lost.
class PeerWatch {
 public:
  /// lost: called from the watching thread, at most once, with what to say.
  explicit PeerWatch(std::function<void(std::string const&)> lost);
  ~PeerWatch();
  PeerWatch(PeerWatch const&) = delete;
  PeerWatch& operator=(PeerWatch const&) = delete;

 private:
  void watch(std::function<void(std::string const&)> const& lost);

  std::mutex mutex_;
  std::condition_variable wake_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace asymptop
