#include "apps/environment.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/version.h"
#include "data/utf8.h"
#include "tensor/cpu/levels.h"
#include "tensor/parallel.h"

namespace r1::apps {
namespace {

using nlohmann::ordered_json;

// The value after "NAME<separators>" in the first line that starts so; "" when there is none.
std::string line_value(const char* file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(name, 0) != 0) continue;
    const std::size_t at = line.find_first_not_of(" \t:=\"", name.size());
    if (at == std::string::npos) return "";
    const std::size_t end = line.find_last_not_of("\" \t");
    return utf8_replace_invalid(line.substr(at, end + 1 - at));
  }
  return "";
}

// Bytes of "MemTotal:  123 kB".
std::int64_t memory_value(const std::string& name) {
  return std::atoll(line_value("/proc/meminfo", name).c_str()) * 1024;
}

// The limit of the control group, version 2 or 1, as seen from inside a container; 0 for none.
std::int64_t control_group_memory() {
  for (const char* file :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const std::int64_t bytes = std::atoll(line_value(file, "").c_str());
    if (bytes > 0 && bytes < std::int64_t{1} << 60) return bytes;
  }
  return 0;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0)
    return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  return CPU_COUNT(&set);
}

ordered_json limits() {
  ordered_json all = ordered_json::object();
  const auto add = [&](const char* name, auto resource) {
    rlimit limit{};
    if (getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
      all[name] = limit.rlim_cur;
  };
  add("address_space", RLIMIT_AS);
  add("file_size", RLIMIT_FSIZE);
  add("open_files", RLIMIT_NOFILE);
  if (const std::int64_t bytes = control_group_memory()) all["control_group_memory"] = bytes;
  return all;
}

}  // namespace

ordered_json environment() {
  utsname system{};
  uname(&system);
  const std::string processor = line_value("/proc/cpuinfo", "model name");
  return {
      {"version", version_text()},
      {"system", fmt::format("{} {} {}", system.sysname, system.release, system.machine)},
      {"distribution", line_value("/etc/os-release", "PRETTY_NAME=")},
      {"processor", processor.empty() ? system.machine : processor},
      {"cores", {{"usable", usable_cores()}, {"online", sysconf(_SC_NPROCESSORS_ONLN)}}},
      {"instruction_sets", cpu::level_names()},
      {"instruction_set", cpu::isa().name},
      {"threads", thread_count()},
      {"memory",
       {{"total", memory_value("MemTotal")}, {"available", memory_value("MemAvailable")}}},
      {"limits", limits()},
  };
}

std::string command_line() {
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  std::string line;
  for (std::string word; std::getline(in, word, '\0');) {
    const bool plain =
        !word.empty() &&
        word.find_first_not_of(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+.,:/@%") ==
            std::string::npos;
    if (!line.empty()) line += ' ';
    if (plain) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word) line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return utf8_replace_invalid(line);
}

}  // namespace r1::apps
