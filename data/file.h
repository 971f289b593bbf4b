// Files: read-only mappings, writes that are whole or absent, and append-only line files.
// Every failure is an r1::Error of one line that names the path and the system's reason. A
// file-size limit (RLIMIT_FSIZE) is reported as "File too large" when the program ignores SIGXFSZ,
// as ours do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace r1 {

// The bytes of a file, mapped read-only. Throws Error when the file is missing, unreadable, empty
// or not a regular file. The file must not be cut short by others while it is mapped.
class MappedFile {
 public:
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Writes PATH.tmp-PID-RANDOM in the folder of PATH; commit() makes it durable and renames it to
// PATH. Without commit(), or after any failure, nothing is left behind and PATH is untouched.
class AtomicFile {
 public:
  // When the final size is known it is reserved first, so that a full disk shows before the work.
  explicit AtomicFile(std::string path, std::uint64_t expected_bytes = 0);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  std::uint64_t bytes_written() const { return written_; }
  void commit();

 private:
  [[noreturn]] void give_up(int error);
  void discard();

  std::string path_;
  std::string temporary_;
  int fd_ = -1;
  std::uint64_t expected_ = 0;
  std::uint64_t written_ = 0;
};

void write_file_atomically(const std::string& path, std::string_view contents);

// A folder that appears whole or not at all: files are written below path() (which is
// NAME.tmp-PID-RANDOM beside the final NAME), commit() makes all of them durable and renames.
class AtomicFolder {
 public:
  enum class IfExists { refuse, replace };

  // Throws Error when `name` exists and is not to be replaced, or its parent cannot be written.
  explicit AtomicFolder(std::string name, IfExists if_exists = IfExists::refuse);
  ~AtomicFolder();  // removes the temporary folder unless committed
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  const std::string& path() const { return temporary_; }  // write here
  std::string file(std::string_view name) const { return temporary_ + "/" + std::string(name); }
  void commit();

 private:
  std::string name_;
  std::string temporary_;
  IfExists if_exists_;
};

// True for the names AtomicFile and AtomicFolder use before commit(): what a crash leaves behind
// and what must never be taken for a checkpoint.
bool is_temporary_name(std::string_view name);

// The whole file as text (bytes as they are). Throws Error when it is longer than max_bytes.
std::string read_text_file(const std::string& path, std::uint64_t max_bytes = 64u << 20);

// Appends lines to a file, one write() per line, so that readers never see half a line. If an
// earlier process died inside a write, the torn last line is cut off (a last line that ends in '}'
// only lacks its newline, which is added).
class LineWriter {
 public:
  explicit LineWriter(std::string path);
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // `line` without newline. On failure the file is cut back to whole lines and Error is thrown.
  void write_line(std::string_view line);
  void sync();  // waits until the lines are on the disk

 private:
  void repair_end();

  std::string path_;
  int fd_ = -1;
};

}  // namespace r1
