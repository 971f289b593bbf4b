// Numbers for people, progress without a terminal, and what signals do.
#include "apps/terminal.h"

#include <gtest/gtest.h>
#include <signal.h>

#include "apps/command.h"
#include "tests/apps/program.h"

namespace r1::apps {
namespace {

// The exit code of f in a process of its own.
template <class F>
int code_of(F&& f) {
  const pid_t pid = fork();
  if (pid == 0) {
    install_signal_handlers();
    _exit(f());
  }
  return test::wait_for(pid);
}

TEST(Terminal, ASignalIsARequestToStop) {
  for (const int signal : {SIGINT, SIGTERM}) {
    EXPECT_EQ(code_of([&] {
                if (stop_requested() != 0) return 1;
                check_stop();
                raise(signal);
                if (stop_requested() != signal) return 2;
                try {
                  check_stop();
                } catch (const Interrupted& e) {
                  return e.signal() == signal ? 0 : 3;
                }
                return 4;
              }),
              0);
  }
}

TEST(Terminal, ASecondSignalEndsTheProgram) {
  EXPECT_EQ(code_of([] {
              raise(SIGTERM);
              usleep(200000);
              raise(SIGINT);
              return 0;
            }),
            130);
  // timeout(1) delivers one request twice: that is no second one.
  EXPECT_EQ(code_of([] {
              raise(SIGTERM);
              raise(SIGTERM);
              return 0;
            }),
            0);
}

TEST(Terminal, WritesThatFailAreErrorsNotSignals) {
  EXPECT_EQ(code_of([] {
              raise(SIGPIPE);
              raise(SIGXFSZ);
              return 0;
            }),
            0);
}

TEST(Terminal, ProgressWithoutATerminalIsALastLine) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("err");
  EXPECT_EQ(code_of([&] {
              if (std::freopen(path.c_str(), "w", stderr) == nullptr) return 1;
              Progress progress("line", 3000, "tokens");
              for (int i = 1; i <= 3000; ++i) progress.update(i, 10, "loss 2.5");
              progress.finish();
              progress.finish();
              warn("late");
              std::fflush(stderr);
              return 0;
            }),
            0);
  const std::string text = test::read_all(path);
  EXPECT_EQ(text.rfind("line 3,000/3,000  loss 2.5  ", 0), 0u) << text;
  EXPECT_NE(text.find(" tokens/s  in "), std::string::npos) << text;
  EXPECT_NE(text.find("\nwarning: late\n"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
}

TEST(Terminal, Numbers) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(134515008), "134,515,008");
  EXPECT_EQ(format_count(-1000), "-1,000");
  EXPECT_EQ(format_si(0), "0");
  EXPECT_EQ(format_si(0.5), "0.50");
  EXPECT_EQ(format_si(172), "172");
  EXPECT_EQ(format_si(999.7), "1.00k");
  EXPECT_EQ(format_si(12345), "12.3k");
  EXPECT_EQ(format_si(134515008), "135M");
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.00 KiB");
  EXPECT_EQ(format_bytes(538060032), "513 MiB");
  EXPECT_EQ(format_duration(0.04), "0.0s");
  EXPECT_EQ(format_duration(9.96), "10s");
  EXPECT_EQ(format_duration(59.6), "1m 00s");
  EXPECT_EQ(format_duration(7500), "2h 05m");
  EXPECT_EQ(format_duration(90000), "1d 01h");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(1e300), "over 100 days");
}

}  // namespace
}  // namespace r1::apps
