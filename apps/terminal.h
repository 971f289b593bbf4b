// What the user sees: results on stdout, notes and progress on stderr, numbers in readable form,
// and the signals that stop the program.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "tensor/error.h"

namespace r1::apps {

bool stdout_is_terminal();
bool stderr_is_terminal();
int terminal_width();  // columns; 80 where unknown
bool use_color();      // stderr is a terminal that shows colours and NO_COLOR is not set

// The reader of stdout has gone (r1 ... | head): the program ends with code 0, without a word.
class OutputClosed : public Error {
 public:
  OutputClosed() : Error("standard output was closed by its reader") {}
};

// Writes to stdout. Throws OutputClosed, or Error when the disk is full.
void write_out(std::string_view text);
void write_line(std::string_view line);  // adds the newline
void flush_out();

// One line on stderr: "note: ..." or "warning: ...". A progress line gives way to it.
void note(std::string_view text);
void warn(std::string_view text);
// One line on stderr as it is.
void write_note(std::string_view line);

// SIGINT and SIGTERM set a flag; a second one (0.1 s later or more) ends the program at once.
// SIGPIPE and SIGXFSZ become errors of write(). Called once by main().
void install_signal_handlers();
int stop_requested();  // the signal, or 0
// For loops that have nothing to save: throws Interrupted once a signal has come.
void check_stop();

std::string format_count(std::int64_t n);     // 134,515,008
std::string format_si(double x);              // 12.3k, 1.25M: three digits
std::string format_bytes(double bytes);       // 513 MiB
std::string format_duration(double seconds);  // 8.2s, 3m 20s, 2h 05m

// Progress of a loop of `total` parts (lines, steps), with the rate of what they hold (tokens).
// On a terminal one line that is rewritten at most 10 times a second, else a plain line after 10 s
// and then less and less often (at most one a minute). Nothing is shown when quiet.
class Progress {
 public:
  Progress(std::string part, std::int64_t total, std::string unit, std::int64_t first = 0);
  ~Progress();  // clears the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` parts of `total` are complete, `units` more units since the last call; `detail` is shown
  // as it is ("loss 2.31").
  void update(std::int64_t done, double units, std::string_view detail = {});
  // Clears the line; on a terminal or not, a last plain line with the mean rate is written.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(std::string_view detail, bool last) const;

  std::string part_, unit_;
  std::int64_t first_, total_, done_;
  double units_ = 0;
  Clock::time_point start_, shown_;
  double plain_interval_ = 10;  // seconds until the next plain line
  std::string detail_;
  bool finished_ = false;
};

}  // namespace r1::apps
