// Saves under failing system calls. write, fsync, close and rename of this program are replaced by
// the versions below, which can fail or stop short at their k-th call.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "data/file.h"
#include "data/safetensors.h"
#include "tensor/error.h"

namespace {

struct Fault {
  std::string call;           // "" for none
  int at = 0;                 // which call of that name, from 0
  int error = 0;              // errno; 0 makes a write stop short
  int repeat = 1;             // how many calls in a row
  bool short_before = false;  // the write before the failing one stops short
  int seen = 0;               // calls so far
};
Fault fault;

enum class Outcome { normal, stops_short, fails };

Outcome outcome_of(const char* call) {
  if (fault.call != call) return Outcome::normal;
  const int i = fault.seen++;
  if (fault.short_before && i == fault.at - 1) return Outcome::stops_short;
  if (i < fault.at || i >= fault.at + fault.repeat) return Outcome::normal;
  return fault.error == 0 ? Outcome::stops_short : Outcome::fails;
}

bool fails(const char* call) { return outcome_of(call) == Outcome::fails; }

int raw_fail() {
  errno = fault.error;
  return -1;
}

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t bytes) {
  const Outcome outcome = outcome_of("write");
  if (outcome == Outcome::fails) return raw_fail();
  if (outcome == Outcome::stops_short) bytes = bytes > 1 ? bytes / 2 : bytes;
  return ::syscall(SYS_write, fd, data, bytes);
}

int fsync(int fd) {
  return fails("fsync") ? raw_fail() : static_cast<int>(::syscall(SYS_fsync, fd));
}

int close(int fd) {
  const bool hit = fails("close");
  const int result = static_cast<int>(::syscall(SYS_close, fd));
  return hit ? raw_fail() : result;
}

int rename(const char* from, const char* to) noexcept {
  return fails("rename")
             ? raw_fail()
             : static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

}  // extern "C"

namespace r1 {
namespace {

namespace fs = std::filesystem;

std::string slurp(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

class FileFaultTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "r1_fault_test_" + std::to_string(::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override {
    fault = {};
    fs::remove_all(folder_);
  }

  // Runs `save` with the fault; gives the message, or "" when it went through.
  std::string run(const Fault& f, const std::function<void()>& save) {
    fault = f;
    std::string message;
    try {
      save();
    } catch (const Error& e) {
      message = e.what();
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
    calls_ = fault.seen;
    fault = {};
    return message;
  }
  int leftovers() const {
    int n = 0;
    for (const auto& entry : fs::directory_iterator(folder_))
      n += is_temporary_name(entry.path().filename().string());
    return n;
  }
  void save_file() {
    AtomicFile file(folder_ + "/a");
    file.write("new ");
    file.write("contents");
    file.commit();
  }
  void save_folder() {
    AtomicFolder folder(folder_ + "/step");
    write_file_atomically(folder.file("config.json"), "{}");
    const std::vector<float> w = {1, 2};
    write_safetensors(folder.file("model.safetensors"), {entry_of("w", Tensor::from(w, {2}))});
    folder.commit();
  }

  std::string folder_;
  int calls_ = 0;
};

constexpr const char* kCalls[] = {"write", "fsync", "close", "rename"};

TEST_F(FileFaultTest, EveryFailingCallLeavesTheOldFile) {
  for (const char* call : kCalls) {
    for (const int error : {ENOSPC, EIO, EDQUOT}) {
      for (int at = 0;; ++at) {
        std::ofstream(folder_ + "/a") << "old";
        const auto message = run({.call = call, .at = at, .error = error}, [&] { save_file(); });
        if (calls_ <= at) break;  // there is no such call: all are tried
        const std::string contents = slurp(folder_ + "/a");
        if (message.empty()) {  // only closing the folder, opened for its sync, may fail unseen
          EXPECT_STREQ(call, "close");
          EXPECT_EQ(at, 1);
          EXPECT_EQ(contents, "new contents");
        } else {
          // The sync of the folder is the last step: the new file is there, and the failure told.
          const bool renamed = contents == "new contents";
          EXPECT_EQ(renamed, std::string(call) == "fsync" && at == 1) << call << at;
          EXPECT_TRUE(renamed || contents == "old") << contents;
          EXPECT_NE(message.find(std::strerror(error)), std::string::npos) << message;
          EXPECT_NE(message.find(folder_), std::string::npos) << message;
        }
        EXPECT_EQ(leftovers(), 0) << call << at;
      }
    }
  }
}

TEST_F(FileFaultTest, EveryFailingCallLeavesNoHalfFolder) {
  for (const char* call : kCalls) {
    for (int at = 0;; ++at) {
      fs::remove_all(folder_ + "/step");
      const auto message = run({.call = call, .at = at, .error = ENOSPC}, [&] { save_folder(); });
      if (calls_ <= at) break;
      EXPECT_EQ(leftovers(), 0) << call << at;
      if (!fs::exists(folder_ + "/step")) {
        EXPECT_FALSE(message.empty()) << call << at;
        continue;
      }
      EXPECT_EQ(slurp(folder_ + "/step/config.json"), "{}");
      EXPECT_NO_THROW(SafetensorsFolder::open(folder_ + "/step"));
    }
  }
}

TEST_F(FileFaultTest, InterruptedAndShortWritesGoOn) {
  for (const char* call : {"write", "fsync"}) {
    for (int at = 0; at < 2; ++at) {
      EXPECT_EQ(run({.call = call, .at = at, .error = EINTR, .repeat = 3}, [&] { save_file(); }),
                "");
      EXPECT_EQ(slurp(folder_ + "/a"), "new contents");
    }
  }
  EXPECT_EQ(run({.call = "write", .at = 0, .error = 0, .repeat = 4}, [&] { save_file(); }), "");
  EXPECT_EQ(slurp(folder_ + "/a"), "new contents");
  LineWriter lines(folder_ + "/m.jsonl");
  EXPECT_EQ(run({.call = "write", .at = 0, .error = 0}, [&] { lines.write_line("{\"a\":1}"); }),
            "");
  EXPECT_EQ(slurp(folder_ + "/m.jsonl"), "{\"a\":1}\n");
}

// Contents before names: the file, then the folder that holds its name.
TEST_F(FileFaultTest, SavesAreMadeDurable) {
  run({.call = "fsync", .at = 1000}, [&] { save_file(); });
  EXPECT_EQ(calls_, 2);
  // Two files with their folder each, then both again, the folder itself and its parent.
  run({.call = "fsync", .at = 1000}, [&] { save_folder(); });
  EXPECT_EQ(calls_, 8);
}

TEST_F(FileFaultTest, AFullDiskIsNamedWithTheNeed) {
  const auto message = run({.call = "write", .error = ENOSPC}, [&] {
    AtomicFile file(folder_ + "/a");
    file.write(std::string(3 << 20, 'x'));
  });
  const std::string expected =
      "cannot write " + folder_ + "/a: No space left on device (needed 3 MiB, the disk has ";
  EXPECT_EQ(message.substr(0, expected.size()), expected);
}

TEST_F(FileFaultTest, AFailedLineIsCutOff) {
  LineWriter lines(folder_ + "/m.jsonl");
  lines.write_line("{\"a\":1}");
  const auto message = run({.call = "write", .at = 1, .error = ENOSPC, .short_before = true},
                           [&] { lines.write_line("{\"b\":2}"); });
  EXPECT_EQ(message, "cannot write " + folder_ + "/m.jsonl: No space left on device");
  EXPECT_EQ(slurp(folder_ + "/m.jsonl"), "{\"a\":1}\n");
  lines.write_line("{\"c\":3}");
  EXPECT_EQ(slurp(folder_ + "/m.jsonl"), "{\"a\":1}\n{\"c\":3}\n");
}

}  // namespace
}  // namespace r1
