#include "comm/peer_watch.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <map>
#include <vector>

namespace asymptop {
namespace {

/// Seconds without traffic before the first probe, and between probes.
constexpr int probe_after = 3, probe_every = 1;

/// Nothing has come for so long, though it was asked for so often, at so many looks in a row: if this host itself stood still, the
/// first look after it means nothing. Time alone would not do: a full receiver is asked ever more rarely whether it has room.
constexpr unsigned silent_milliseconds = 5000;
constexpr int unanswered = 2, silent_looks = 3;

std::vector<int> open_descriptors() {
  std::vector<int> descriptors;
  std::error_code error;
  for (auto const& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    auto const name = entry.path().filename().string();
    int descriptor = -1;
    std::from_chars(name.data(), name.data() + name.size(), descriptor);
    if (descriptor >= 0) descriptors.push_back(descriptor);
  }
  return descriptors;
}

/// The other end's address; empty for no peer (still connecting).
std::string peer_of(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  char text[INET6_ADDRSTRLEN] = {};
  if (getpeername(socket, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "";
  if (address.ss_family == AF_INET) inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in const*>(&address)->sin_addr, text, sizeof text);
  if (address.ss_family == AF_INET6) inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6 const*>(&address)->sin6_addr, text, sizeof text);
  return text;
}

/// Whether this is a TCP connection whose other end leaves probes and data unacknowledged. Probes are on afterwards.
bool is_silent(int descriptor) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return false;
  if (info.tcpi_state != TCP_ESTABLISHED && info.tcpi_state != TCP_SYN_SENT) return false;
  int idle = 0;
  length = sizeof idle;
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &length) == 0 && idle != probe_after) {
    int const on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &probe_after, sizeof probe_after);
    setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &probe_every, sizeof probe_every);
    setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  }
  return info.tcpi_last_ack_recv >= silent_milliseconds && std::max(info.tcpi_probes, info.tcpi_retransmits) >= unanswered;
}

}  // namespace

PeerWatch::PeerWatch(std::function<void(std::string const&)> lost) : thread_([this, lost = std::move(lost)] { watch(lost); }) {}

PeerWatch::~PeerWatch() {
  {
    std::lock_guard const lock(mutex_);
    ended_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void PeerWatch::watch(std::function<void(std::string const&)> const& lost) {
  std::map<int, int> looks;  // per descriptor: silent ones in a row
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::seconds(1), [this] { return ended_; })) {
    for (int const descriptor : open_descriptors()) {
      auto& count = looks[descriptor];
      count = is_silent(descriptor) ? count + 1 : 0;
      if (count < silent_looks) continue;
      auto const peer = peer_of(descriptor);
      lost("no answer from " + (peer.empty() ? "another host" : peer) + " any more: the link to it or that host is gone");
      return;
    }
  }
}

}  // namespace asymptop
