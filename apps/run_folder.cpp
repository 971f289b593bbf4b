#include "apps/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "apps/environment.h"
#include "apps/terminal.h"
#include "data/json.h"
#include "tensor/error.h"

namespace r1::apps {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLock = ".lock";
constexpr std::uint64_t kMaxMetricsBytes = std::uint64_t{4} << 30;

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool is_folder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// Whether the folder holds something besides the lock.
bool has_contents(const std::string& path) {
  return std::any_of(fs::directory_iterator(path), fs::directory_iterator(),
                     [](const fs::directory_entry& e) { return e.path().filename() != kLock; });
}

bool is_run_folder(const std::string& path) {
  return exists(path + "/env.json") || is_folder(path + "/checkpoints");
}

int lock_folder(const std::string& path) {
  const std::string file = path + "/" + kLock;
  const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  R1_CHECK(fd >= 0, "{}: cannot be written: {}", file, std::strerror(errno));
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  const int error = errno;
  close(fd);
  R1_CHECK(error != EWOULDBLOCK,
           "{}: another r1 is training in this folder, wait for it or choose another --out", path);
  fail("{}: cannot be locked: {}", file, std::strerror(error));
}

std::string random_id() {
  std::uint64_t x = 0;
  if (getrandom(&x, sizeof x, 0) != sizeof x) x = static_cast<std::uint64_t>(getpid());
  return fmt::format("{:016x}", x).substr(0, 12);
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

// The step of "step-000040", or -1.
std::int64_t step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step-";
  if (name.rfind(kPrefix, 0) != 0 || name.size() > kPrefix.size() + 18) return -1;
  const std::string digits = name.substr(kPrefix.size());
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

// The newest checkpoint whose files are what its manifest says.
std::optional<Checkpoint> newest_whole_checkpoint(const std::string& run) {
  for (Checkpoint& checkpoint : list_checkpoints(run)) {
    try {
      check_manifest(checkpoint.path);
      return std::move(checkpoint);
    } catch (const Error& e) {
      warn(fmt::format("passing over a damaged checkpoint: {}", e.what()));
    }
  }
  return std::nullopt;
}

}  // namespace

RunFolder::RunFolder(std::string path, bool resume) : path_(without_slash(std::move(path))) {
  R1_CHECK(!path_.empty(), "the run folder has no name, give one with --out RUN");
  R1_CHECK(!exists(path_) || is_folder(path_), "{}: is a file, --out names a folder", path_);
  const auto refuse_existing = [&] {
    R1_CHECK(resume || !has_contents(path_),
             "{}: exists already, continue it with --resume or choose another --out", path_);
  };
  if (is_folder(path_)) {
    refuse_existing();
    R1_CHECK(is_run_folder(path_) || !has_contents(path_),
             "{}: is no run folder (it has no env.json), choose another --out", path_);
  } else {
    std::error_code error;
    created_ = fs::create_directories(path_, error);
    R1_CHECK(!error, "{}: cannot be created: {}", path_, error.message());
  }
  lock_ = lock_folder(path_);
  try {
    refuse_existing();  // another process may have been quicker
    std::error_code error;
    fs::create_directory(path_ + "/checkpoints", error);
    R1_CHECK(!error, "{}/checkpoints: cannot be created: {}", path_, error.message());
  } catch (...) {
    close(lock_);
    throw;
  }
  run_id_ = random_id();
}

RunFolder::~RunFolder() {
  // A start that failed before anything was recorded leaves nothing in the way of the next.
  if (created_ && !recorded_) {
    std::error_code ignored;
    fs::remove(path_ + "/checkpoints", ignored);
    fs::remove(path_ + "/" + kLock, ignored);
    fs::remove(path_, ignored);
  }
  close(lock_);
}

std::string RunFolder::checkpoint_path(std::int64_t step) const {
  return fmt::format("{}/checkpoints/step-{:06}", path_, step);
}

bool RunFolder::finished() const { return exists(model_path() + "/config.json"); }

std::optional<Checkpoint> RunFolder::newest_checkpoint() const {
  return newest_whole_checkpoint(path_);
}

void RunFolder::record_start(const std::string& config_toml, std::int64_t step) {
  const std::string path = path_ + "/env.json";
  json::OrderedValue starts = json::OrderedValue::array();
  if (exists(path)) {
    json::OrderedValue before = json::parse_ordered(read_text_file(path), path);
    if (before.is_object() && before.contains("starts") && before["starts"].is_array())
      starts = std::move(before["starts"]);
  }
  json::OrderedValue env = environment();
  starts.push_back({{"run_id", run_id_},
                    {"started", utc_now()},
                    {"resumed_from_step", step},
                    {"command", command_line()},
                    {"version", env["version"]},
                    {"instruction_set", env["instruction_set"]},
                    {"threads", env["threads"]}});
  env["starts"] = std::move(starts);
  write_file_atomically(config_path(), config_toml);
  write_file_atomically(path, env.dump(2) + "\n");
  recorded_ = true;
}

std::unique_ptr<LineWriter> RunFolder::open_metrics(std::int64_t step) {
  const std::string path = path_ + "/metrics.jsonl";
  std::error_code error;
  const std::uint64_t size = exists(path) ? fs::file_size(path, error) : 0;
  if (size == 0) return std::make_unique<LineWriter>(path);

  const std::string text = read_text_file(path, kMaxMetricsBytes);
  std::size_t kept = 0;        // bytes that stay
  std::int64_t last_step = 0;  // of the lines that stay
  std::int64_t number = 0;
  while (kept < text.size()) {
    if (last_step >= step) break;
    const std::size_t end = std::min(text.find('\n', kept), text.size());
    if (end == text.size() && text.back() != '}') break;  // torn by a crash
    const std::string where = fmt::format("{}:{}", path, ++number);
    const json::Value line = json::parse(std::string_view(text).substr(kept, end - kept), where);
    const std::int64_t line_step = json::get_int(line, "step", where, 0);
    if (line_step > step) break;
    last_step = line_step;
    kept = std::min(end + 1, text.size());
  }
  if (last_step < step) {
    warn(fmt::format("{}: ends at step {}, but the run goes on after step {}", path, last_step,
                     step));
  }
  if (kept < text.size()) write_file_atomically(path, std::string_view(text).substr(0, kept));
  return std::make_unique<LineWriter>(path);
}

std::vector<Checkpoint> list_checkpoints(const std::string& run) {
  std::vector<Checkpoint> found;
  const std::string folder = run + "/checkpoints";
  if (!is_folder(folder)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::int64_t step = step_of(entry.path().filename().string());
    if (step >= 0 && entry.is_directory()) found.push_back({step, entry.path().string()});
  }
  std::sort(found.begin(), found.end(),
            [](const Checkpoint& a, const Checkpoint& b) { return a.step > b.step; });
  return found;
}

std::string resolve_model_path(const std::string& model) {
  const std::string path = without_slash(model);
  constexpr const char* kExpected =
      "expected a Hugging Face folder (with config.json), a .gguf file or a run folder";
  R1_CHECK(exists(path), "{}: no such file or folder, {}", path, kExpected);
  if (!is_folder(path)) {
    R1_CHECK(path.ends_with(".gguf"), "{}: not a model, {}", path, kExpected);
    return path;
  }
  if (exists(path + "/config.json")) return path;
  if (exists(path + "/model/config.json")) return path + "/model";
  R1_CHECK(is_run_folder(path), "{}: has no config.json, {}", path, kExpected);
  const auto checkpoint = newest_whole_checkpoint(path);
  R1_CHECK(checkpoint.has_value(), "{}: this run has no model and no checkpoint yet", path);
  note(fmt::format("{} has no final model yet, taking the checkpoint of step {}", path,
                   checkpoint->step));
  return checkpoint->path;
}

}  // namespace r1::apps
