#include "apps/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "apps/command.h"
#include "data/utf8.h"

namespace r1::apps {
namespace {

volatile sig_atomic_t stop_signal = 0;
timespec stop_time;  // of the first signal; written before stop_signal

extern "C" void on_stop_signal(int signal) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (stop_signal == 0) {
    stop_time = now;
    stop_signal = signal;
    return;
  }
  // timeout(1) and terminals may deliver one request twice.
  const double apart = static_cast<double>(now.tv_sec - stop_time.tv_sec) +
                       1e-9 * static_cast<double>(now.tv_nsec - stop_time.tv_nsec);
  if (apart >= 0.1) _exit(128 + signal);
}

// The text of a progress line that stands on the terminal, to be cleared before anything else.
bool progress_on_screen = false;

void clear_progress() {
  if (!progress_on_screen) return;
  std::fputs("\r\033[K", stderr);
  progress_on_screen = false;
}

[[noreturn]] void output_failed(int error) {
  std::clearerr(stdout);
  if (error == EPIPE) throw OutputClosed();
  fail("cannot write to standard output: {}", std::strerror(error));
}

}  // namespace

bool stdout_is_terminal() { return isatty(STDOUT_FILENO) != 0; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) != 0; }

int terminal_width() {
  winsize size{};
  for (const int fd : {STDERR_FILENO, STDOUT_FILENO})
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool use_color() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return stderr_is_terminal() && (no_color == nullptr || *no_color == '\0') && term != nullptr &&
         std::strcmp(term, "dumb") != 0;
}

void write_out(std::string_view text) {
  if (progress_on_screen && stdout_is_terminal()) clear_progress();
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) output_failed(errno);
}
void write_line(std::string_view line) {
  write_out(line);
  write_out("\n");
}
void flush_out() {
  if (std::fflush(stdout) != 0) output_failed(errno);
}

void write_note(std::string_view line) {
  clear_progress();
  const std::string text = std::string(line) + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}
void note(std::string_view text) { write_note(fmt::format("note: {}", text)); }
void warn(std::string_view text) {
  write_note(fmt::format("{} {}", use_color() ? "\033[33mwarning:\033[0m" : "warning:", text));
}

void install_signal_handlers() {
  struct sigaction action {};
  sigemptyset(&action.sa_mask);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
  sigaction(SIGXFSZ, &action, nullptr);
  action.sa_handler = on_stop_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

int stop_requested() { return stop_signal; }
void check_stop() {
  if (stop_signal != 0) throw Interrupted(stop_signal, "");
}

std::string format_count(std::int64_t n) {
  std::string digits = fmt::format("{}", n);
  const std::size_t sign = n < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > sign + 3;) digits.insert(i -= 3, ",");
  return digits;
}

std::string format_si(double x) {
  const char* const units[] = {"", "k", "M", "G", "T"};
  std::size_t u = 0;
  // 999.5 would print as 1000
  while (std::abs(x) >= 999.5 && u < 4) x /= 1000, ++u;
  const int decimals = std::abs(x) >= 99.95 ? 0 : std::abs(x) >= 9.995 ? 1 : 2;
  std::string text = fmt::format("{:.{}f}", x, decimals);
  if (u == 0 && x == std::floor(x)) text = fmt::format("{:.0f}", x);
  return text + units[u];
}

std::string format_bytes(double bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t u = 0;
  while (std::abs(bytes) >= 1023.5 && u < 4) bytes /= 1024, ++u;
  const int decimals = u == 0 || std::abs(bytes) >= 99.95 ? 0 : std::abs(bytes) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}", bytes, decimals, units[u]);
}

std::string format_duration(double seconds) {
  if (!(seconds >= 0)) return "?";
  if (seconds < 9.95) return fmt::format("{:.1f}s", seconds);
  const double whole = std::round(seconds);
  if (whole >= 100.0 * 86400) return "over 100 days";
  const auto s = static_cast<std::int64_t>(whole);
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m {:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h {:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d {:02}h", s / 86400, s / 3600 % 24);
}

Progress::Progress(std::string part, std::int64_t total, std::string unit, std::int64_t first)
    : part_(std::move(part)),
      unit_(std::move(unit)),
      first_(first),
      total_(total),
      done_(first),
      start_(Clock::now()),
      shown_(start_) {}

Progress::~Progress() { clear_progress(); }

std::string Progress::line(std::string_view detail, bool last) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const auto done = static_cast<double>(done_ - first_);
  std::string text = fmt::format("{} {}", part_, format_count(done_));
  if (total_ > 0) text += fmt::format("/{}", format_count(total_));
  if (!detail.empty()) text += fmt::format("  {}", detail);
  if (seconds > 0 && units_ > 0)
    text += fmt::format("  {} {}/s", format_si(units_ / seconds), unit_);
  if (last) {
    text += fmt::format("  in {}", format_duration(seconds));
  } else if (total_ > 0 && done > 0) {
    const double left = seconds * static_cast<double>(total_ - done_) / done;
    text += fmt::format("  {} left", format_duration(left));
  }
  return text;
}

void Progress::update(std::int64_t done, double units, std::string_view detail) {
  done_ = done;
  units_ += units;
  detail_ = detail;
  const Clock::time_point now = Clock::now();
  const double since = std::chrono::duration<double>(now - shown_).count();
  if (stderr_is_terminal()) {
    if (progress_on_screen && since < 0.1) return;
    // A line that wraps could not be rewritten.
    std::string text = line(detail, false);
    const auto width = static_cast<std::size_t>(std::max(terminal_width(), 20)) - 1;
    if (text.size() > width) text.resize(width);
    text.resize(text.size() - utf8_incomplete_tail(text));
    clear_progress();
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
    progress_on_screen = true;
  } else {
    if (since < plain_interval_) return;
    write_note(line(detail, false));
    plain_interval_ = std::min(plain_interval_ * 1.5, 60.0);
  }
  shown_ = now;
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  write_note(line(detail_, true));
}

}  // namespace r1::apps
