#include "data/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tensor/error.h"

namespace r1 {
namespace {

namespace fs = std::filesystem;

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "r1_file_test_" + std::to_string(::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
  }
  std::string get(const std::string& name) const {
    std::ostringstream out;
    out << std::ifstream(path(name), std::ios::binary).rdbuf();
    return out.str();
  }
  std::size_t count() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  std::string folder_;
};

// Lowers the largest size a file may have; the signal is ignored, so that writes fail with EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    old_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, old_);
  }

 private:
  rlimit before_{};
  void (*old_)(int) = SIG_DFL;
};

TEST_F(FileTest, MappedFileGivesTheBytes) {
  put("a", "hello");
  const MappedFile file(path("a"));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()),
            "hello");
  EXPECT_EQ(file.path(), path("a"));
}

TEST_F(FileTest, MappedFileNamesWhatIsWrong) {
  put("empty", "");
  EXPECT_EQ(message_of([&] { MappedFile f(path("none")); }),
            "cannot read " + path("none") + ": No such file or directory");
  EXPECT_EQ(message_of([&] { MappedFile f(path("empty")); }),
            "cannot read " + path("empty") + ": the file is empty");
  EXPECT_EQ(message_of([&] { MappedFile f(folder_); }),
            "cannot read " + folder_ + ": it is a directory, not a file");
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(message_of([&] { MappedFile f(path("pipe")); }),
            "cannot read " + path("pipe") + ": it is not a regular file");
}

TEST_F(FileTest, MappedFileNamesAnUnreadableFile) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  put("secret", "x");
  ::chmod(path("secret").c_str(), 0);
  EXPECT_EQ(message_of([&] { MappedFile f(path("secret")); }),
            "cannot read " + path("secret") + ": Permission denied");
}

TEST_F(FileTest, AtomicFileAppearsOnCommitOnly) {
  put("a", "old");
  {
    AtomicFile file(path("a"));
    file.write("new contents");
    EXPECT_EQ(get("a"), "old");
    EXPECT_EQ(count(), 2u);
  }
  EXPECT_EQ(get("a"), "old");
  EXPECT_EQ(count(), 1u);
  AtomicFile file(path("a"));
  file.write("new ");
  file.write("contents");
  file.commit();
  EXPECT_EQ(get("a"), "new contents");
  EXPECT_EQ(count(), 1u);
  EXPECT_NE(message_of([&] { file.write("more"); }), "no error");
}

TEST_F(FileTest, AtomicFileTooLongAReservationIsCut) {
  AtomicFile file(path("a"), 10000);
  file.write("short");
  file.commit();
  EXPECT_EQ(get("a"), "short");
}

TEST_F(FileTest, AtomicFileLeavesNothingWhenItDoesNotFit) {
  put("a", "old");
  const FileSizeLimit limit(1 << 20);
  const std::string expected = "cannot write " + path("a") + ": File too large (needed 3 MiB, ";
  const std::string big(3 << 20, 'x');
  const auto write = [&](std::uint64_t reserve) {
    AtomicFile file(path("a"), reserve);
    file.write(big);
    file.commit();
  };
  EXPECT_EQ(message_of([&] { write(0); }).substr(0, expected.size()), expected);
  EXPECT_EQ(message_of([&] { write(big.size()); }).substr(0, expected.size()), expected);
  EXPECT_EQ(get("a"), "old");
  EXPECT_EQ(count(), 1u);
}

TEST_F(FileTest, AtomicFileNamesAFullDisk) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  LineWriter full("/dev/full");
  EXPECT_EQ(message_of([&] { full.write_line("{}"); }),
            "cannot write /dev/full: No space left on device (the last line may be torn)");
}

TEST_F(FileTest, AtomicFileNeedsItsFolder) {
  EXPECT_EQ(message_of([&] { write_file_atomically(path("none/a"), "x"); }),
            "cannot write " + path("none/a") + ": No such file or directory");
  EXPECT_EQ(message_of([&] { write_file_atomically(folder_, "x"); }),
            "cannot write " + folder_ + ": a directory has this name");
}

TEST_F(FileTest, AtomicFolderAppearsWhole) {
  {
    AtomicFolder abandoned(path("step-1"));
    write_file_atomically(abandoned.file("a"), "1");
    EXPECT_TRUE(is_temporary_name(abandoned.path()));
    EXPECT_TRUE(fs::exists(abandoned.file("a")));
  }
  EXPECT_EQ(count(), 0u);
  AtomicFolder folder(path("step-1/"));
  write_file_atomically(folder.file("a"), "1");
  fs::create_directory(folder.file("trainer"));
  write_file_atomically(folder.file("trainer/b"), "2");
  EXPECT_FALSE(fs::exists(path("step-1")));
  folder.commit();
  EXPECT_EQ(get("step-1/a"), "1");
  EXPECT_EQ(get("step-1/trainer/b"), "2");
  EXPECT_EQ(count(), 1u);
}

TEST_F(FileTest, AtomicFolderRefusesOrReplaces) {
  const auto write = [&](const std::string& text, AtomicFolder::IfExists rule) {
    AtomicFolder folder(path("m"), rule);
    write_file_atomically(folder.file(text), text);
    folder.commit();
  };
  write("one", AtomicFolder::IfExists::refuse);
  EXPECT_EQ(
      message_of([&] { write("two", AtomicFolder::IfExists::refuse); }),
      "cannot write folder " + path("m") + ": it exists already; choose another name or remove it");
  EXPECT_EQ(get("m/one"), "one");
  write("two", AtomicFolder::IfExists::replace);
  EXPECT_EQ(get("m/two"), "two");
  EXPECT_FALSE(fs::exists(path("m/one")));
  EXPECT_EQ(count(), 1u);
}

TEST_F(FileTest, TemporaryNames) {
  EXPECT_TRUE(is_temporary_name("step-000200.tmp-4711-0a1b2c3d"));
  EXPECT_TRUE(is_temporary_name("runs/x/step-000200.tmp-4711-0a1b2c3d/"));
  EXPECT_FALSE(is_temporary_name("step-000200"));
  EXPECT_FALSE(is_temporary_name("a.tmp-x-0a1b2c3d"));
  EXPECT_FALSE(is_temporary_name("a.tmp-1-0a1b2c3"));
  EXPECT_FALSE(is_temporary_name("x.tmp-4711-0a1b2c3d/model.safetensors"));
}

TEST_F(FileTest, ReadTextFileHasALimit) {
  put("a", std::string("a\0b\n", 4));
  put("empty", "");
  EXPECT_EQ(read_text_file(path("a")), std::string("a\0b\n", 4));
  EXPECT_EQ(read_text_file(path("empty")), "");
  EXPECT_EQ(read_text_file(path("a"), 4).size(), 4u);
  EXPECT_EQ(
      message_of([&] { read_text_file(path("a"), 3); }),
      "cannot read " + path("a") + ": it is longer than 1 MiB, the limit for this kind of file");
  EXPECT_EQ(message_of([&] { read_text_file(folder_); }),
            "cannot read " + folder_ + ": it is a directory, not a file");
  if (fs::exists("/proc/self/status")) {  // a file that states size 0
    EXPECT_NE(read_text_file("/proc/self/status").find("Pid:"), std::string::npos);
  }
  if (fs::exists("/dev/zero")) {
    EXPECT_NE(message_of([] { read_text_file("/dev/zero", 1 << 20); }), "no error");
  }
}

TEST_F(FileTest, LineWriterAppendsWholeLines) {
  {
    LineWriter lines(path("m.jsonl"));
    lines.write_line("{\"step\":1}");
    lines.write_line("");
    EXPECT_EQ(get("m.jsonl"), "{\"step\":1}\n\n");
    EXPECT_NE(message_of([&] { lines.write_line("a\nb"); }), "no error");
    lines.sync();
  }
  LineWriter again(path("m.jsonl"));
  again.write_line("{}");
  EXPECT_EQ(get("m.jsonl"), "{\"step\":1}\n\n{}\n");
}

TEST_F(FileTest, LineWriterRepairsATornEnd) {
  put("torn", "{\"a\":1}\n{\"b\":");
  put("only", "{\"b\":" + std::string(200000, 'x'));
  put("whole", "{\"a\":1}");
  for (const char* name : {"torn", "only", "whole"}) LineWriter(path(name)).write_line("{}");
  EXPECT_EQ(get("torn"), "{\"a\":1}\n{}\n");
  EXPECT_EQ(get("only"), "{}\n");
  EXPECT_EQ(get("whole"), "{\"a\":1}\n{}\n");
}

TEST_F(FileTest, LineWriterCutsBackALineThatDidNotFit) {
  LineWriter lines(path("m.jsonl"));
  lines.write_line("{\"step\":1}");
  {
    const FileSizeLimit limit(4096);
    EXPECT_EQ(message_of([&] { lines.write_line(std::string(10000, 'x')); }),
              "cannot write " + path("m.jsonl") + ": File too large");
  }
  EXPECT_EQ(get("m.jsonl"), "{\"step\":1}\n");
}

}  // namespace
}  // namespace r1
