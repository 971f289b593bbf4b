#include "data/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>
#include <vector>

#include "tensor/error.h"

namespace r1 {
namespace {

constexpr std::string_view kTemporaryMark = ".tmp-";

std::string reason(int error) { return std::generic_category().message(error); }

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string temporary_name(const std::string& path) {
  std::random_device device;
  return fmt::format("{}{}{}-{:08x}", path, kTemporaryMark, ::getpid(), device());
}

// open() that is never interrupted and never inherited; -1 with errno on failure.
int open_file(const std::string& path, int flags) {
  for (;;) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
    if (fd >= 0 || errno != EINTR) return fd;
  }
}

// Writes everything or returns the errno of the failure.
int write_all(int fd, const void* data, std::size_t bytes) {
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(fd, p, std::min<std::size_t>(bytes, 1u << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : EIO;
    p += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return 0;
}

int fsync_retry(int fd) {
  while (::fsync(fd) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

int fsync_path(const std::string& path) {
  const int fd = open_file(path, O_RDONLY);
  if (fd < 0) return errno;
  const int error = fsync_retry(fd);
  ::close(fd);
  return error;
}

constexpr std::uint64_t mebibytes(std::uint64_t bytes) { return (bytes + (1u << 20) - 1) >> 20; }

bool is_space_error(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

int reserve(int fd, std::uint64_t bytes) {
#ifdef __linux__
  int error = 0;
  do {
    error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  return is_space_error(error) ? error : 0;  // a file system that cannot reserve is no failure
#else
  (void)fd, (void)bytes;
  return 0;
#endif
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  const Descriptor fd(open_file(path_, O_RDONLY | O_NONBLOCK));
  R1_CHECK(fd.get() >= 0, "cannot read {}: {}", path_, reason(errno));
  struct stat info {};
  R1_CHECK(::fstat(fd.get(), &info) == 0, "cannot read {}: {}", path_, reason(errno));
  R1_CHECK(!S_ISDIR(info.st_mode), "cannot read {}: it is a directory, not a file", path_);
  R1_CHECK(S_ISREG(info.st_mode), "cannot read {}: it is not a regular file", path_);
  R1_CHECK(info.st_size > 0, "cannot read {}: the file is empty", path_);
  size_ = static_cast<std::size_t>(info.st_size);
  void* map = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  R1_CHECK(map != MAP_FAILED, "cannot map {}: {}", path_, reason(errno));
  data_ = static_cast<const std::byte*>(map);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

AtomicFile::AtomicFile(std::string path, std::uint64_t expected_bytes)
    : path_(std::move(path)), temporary_(temporary_name(path_)), expected_(expected_bytes) {
  std::error_code ignored;
  R1_CHECK(!std::filesystem::is_directory(path_, ignored),
           "cannot write {}: a directory has this name", path_);
  fd_ = open_file(temporary_, O_WRONLY | O_CREAT | O_EXCL);
  R1_CHECK(fd_ >= 0, "cannot write {}: {}", path_, reason(errno));
  if (expected_ > 0) {
    if (const int error = reserve(fd_, expected_)) give_up(error);
  }
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

void AtomicFile::give_up(int error) {
  discard();
  if (!is_space_error(error)) fail("cannot write {}: {}", path_, reason(error));
  const std::uint64_t needed = std::max(expected_, written_);
  struct statvfs info {};
  if (::statvfs(parent_of(path_).c_str(), &info) != 0)
    fail("cannot write {}: {} (needed {} MiB)", path_, reason(error), mebibytes(needed));
  fail("cannot write {}: {} (needed {} MiB, the disk has {} MiB free)", path_, reason(error),
       mebibytes(needed), (static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize) >> 20);
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  R1_CHECK(fd_ >= 0, "cannot write {}: the file is closed", path_);
  written_ += bytes;
  if (const int error = write_all(fd_, data, bytes)) give_up(error);
}

void AtomicFile::commit() {
  R1_CHECK(fd_ >= 0, "cannot write {}: the file is closed", path_);
  if (expected_ > written_ && ::ftruncate(fd_, static_cast<off_t>(written_)) != 0) give_up(errno);
  if (const int error = fsync_retry(fd_)) give_up(error);
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0 && errno != EINTR) give_up(errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) give_up(errno);
  temporary_.clear();
  const std::string parent = parent_of(path_);
  if (const int error = fsync_path(parent)) fail("cannot sync {}: {}", parent, reason(error));
}

void write_file_atomically(const std::string& path, std::string_view contents) {
  AtomicFile file(path, contents.size());
  file.write(contents);
  file.commit();
}

namespace {

// Makes a folder, everything below it and their names durable.
void fsync_tree(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory()) {
      fsync_tree(entry.path());
    } else if (const int error = fsync_path(entry.path().string())) {
      fail("cannot sync {}: {}", entry.path().string(), reason(error));
    }
  }
  if (const int error = fsync_path(folder.string()))
    fail("cannot sync {}: {}", folder.string(), reason(error));
}

// Swaps two names in one step where the system can; otherwise the old folder moves aside first.
int swap_names(const std::string& a, const std::string& b) {
#ifdef RENAME_EXCHANGE
  if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
#endif
  const std::string aside = a + "-old";
  if (::rename(b.c_str(), aside.c_str()) != 0) return errno;
  if (::rename(a.c_str(), b.c_str()) != 0) {
    const int error = errno;
    return ::rename(aside.c_str(), b.c_str()) == 0 ? error : errno;
  }
  return ::rename(aside.c_str(), a.c_str()) == 0 ? 0 : errno;
}

std::string without_end_slashes(std::string name) {
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  return name;
}

}  // namespace

AtomicFolder::AtomicFolder(std::string name, IfExists if_exists)
    : name_(without_end_slashes(std::move(name))),
      temporary_(temporary_name(name_)),
      if_exists_(if_exists) {
  struct stat info {};
  if (::lstat(name_.c_str(), &info) == 0) {
    R1_CHECK(if_exists_ == IfExists::replace,
             "cannot write folder {}: it exists already; choose another name or remove it", name_);
    R1_CHECK(S_ISDIR(info.st_mode), "cannot write folder {}: a file has this name", name_);
  }
  R1_CHECK(::mkdir(temporary_.c_str(), 0777) == 0, "cannot write folder {}: {}", name_,
           reason(errno));
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) std::filesystem::remove_all(temporary_, ignored);
}

void AtomicFolder::commit() {
  R1_CHECK(!temporary_.empty(), "cannot write folder {}: it is committed already", name_);
  try {
    fsync_tree(temporary_);
  } catch (const std::filesystem::filesystem_error& e) {
    fail("cannot sync folder {}: {}", temporary_, e.code().message());
  }
  struct stat info {};
  const bool exists = ::lstat(name_.c_str(), &info) == 0;
  R1_CHECK(!exists || if_exists_ == IfExists::replace,
           "cannot write folder {}: it was created by someone else meanwhile", name_);
  if (exists) {
    const int error = swap_names(temporary_, name_);
    R1_CHECK(error == 0, "cannot replace folder {}: {}", name_, reason(error));
  } else {
    R1_CHECK(::rename(temporary_.c_str(), name_.c_str()) == 0, "cannot write folder {}: {}", name_,
             reason(errno));
  }
  const std::string old = std::exchange(temporary_, "");
  const std::string parent = parent_of(name_);
  const int error = fsync_path(parent);
  if (exists) {  // after a swap the temporary name holds the old contents
    std::error_code ignored;
    std::filesystem::remove_all(old, ignored);
  }
  R1_CHECK(error == 0, "cannot sync {}: {}", parent, reason(error));
}

bool is_temporary_name(std::string_view name) {
  while (name.size() > 1 && name.back() == '/') name.remove_suffix(1);
  name = name.substr(name.find_last_of('/') + 1);
  const std::size_t mark = name.rfind(kTemporaryMark);
  if (mark == std::string_view::npos) return false;
  std::string_view rest = name.substr(mark + kTemporaryMark.size());
  const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  if (digits == 0 || digits == rest.size() || rest[digits] != '-') return false;
  rest.remove_prefix(digits + 1);
  if (rest.ends_with("-old")) rest.remove_suffix(4);
  return rest.size() == 8 && rest.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string read_text_file(const std::string& path, std::uint64_t max_bytes) {
  const Descriptor fd(open_file(path, O_RDONLY));
  R1_CHECK(fd.get() >= 0, "cannot read {}: {}", path, reason(errno));
  struct stat info {};
  R1_CHECK(::fstat(fd.get(), &info) == 0, "cannot read {}: {}", path, reason(errno));
  R1_CHECK(!S_ISDIR(info.st_mode), "cannot read {}: it is a directory, not a file", path);
  const auto size = static_cast<std::uint64_t>(std::max<off_t>(info.st_size, 0));
  std::string text;
  std::size_t used = 0;
  for (;;) {
    R1_CHECK(used <= max_bytes && size <= max_bytes,
             "cannot read {}: it is longer than {} MiB, the limit for this kind of file", path,
             mebibytes(max_bytes));
    if (used == text.size()) {  // one byte more than stated, to see the end in the same round
      text.resize(used == 0 ? static_cast<std::size_t>(size) + 1 : used + used / 2 + 4096);
    }
    const ssize_t n = ::read(fd.get(), text.data() + used, text.size() - used);
    if (n < 0 && errno == EINTR) continue;
    R1_CHECK(n >= 0, "cannot read {}: {}", path, reason(errno));
    if (n == 0) break;
    used += static_cast<std::size_t>(n);
  }
  text.resize(used);
  return text;
}

LineWriter::LineWriter(std::string path) : path_(std::move(path)) {
  fd_ = open_file(path_, O_RDWR | O_CREAT | O_APPEND);
  R1_CHECK(fd_ >= 0, "cannot write {}: {}", path_, reason(errno));
  try {
    repair_end();
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

LineWriter::~LineWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void LineWriter::repair_end() {
  struct stat info {};
  R1_CHECK(::fstat(fd_, &info) == 0, "cannot read {}: {}", path_, reason(errno));
  if (!S_ISREG(info.st_mode) || info.st_size == 0) return;
  char last = 0;
  R1_CHECK(::pread(fd_, &last, 1, info.st_size - 1) == 1, "cannot read {}: {}", path_,
           reason(errno));
  if (last == '\n') return;
  if (last == '}') {
    if (const int error = write_all(fd_, "\n", 1))
      fail("cannot write {}: {}", path_, reason(error));
    return;
  }
  // Back to the newest newline.
  std::vector<char> block(1 << 16);
  off_t end = info.st_size;
  while (end > 0) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(block.size()));
    const auto want = static_cast<std::size_t>(end - begin);
    const ssize_t n = ::pread(fd_, block.data(), want, begin);
    if (n < 0 && errno == EINTR) continue;
    R1_CHECK(n == static_cast<ssize_t>(want), "cannot read {}: {}", path_, reason(errno));
    const std::size_t newline = std::string_view(block.data(), want).find_last_of('\n');
    end = newline == std::string_view::npos ? begin : begin + static_cast<off_t>(newline) + 1;
    if (newline != std::string_view::npos) break;
  }
  R1_CHECK(::ftruncate(fd_, end) == 0, "cannot repair {}: {}", path_, reason(errno));
}

void LineWriter::write_line(std::string_view line) {
  R1_CHECK(line.find('\n') == std::string_view::npos,
           "cannot write {}: a line contains a newline character", path_);
  std::string text;
  text.reserve(line.size() + 1);
  text.append(line).push_back('\n');
  struct stat before {};
  R1_CHECK(::fstat(fd_, &before) == 0, "cannot write {}: {}", path_, reason(errno));
  const int error = write_all(fd_, text.data(), text.size());
  if (error == 0) return;
  // Half a line would spoil the file; what cannot be cut off here is cut off at the next opening.
  const bool cut = S_ISREG(before.st_mode) && ::ftruncate(fd_, before.st_size) == 0;
  fail("cannot write {}: {}{}", path_, reason(error), cut ? "" : " (the last line may be torn)");
}

void LineWriter::sync() {
  const int error = fsync_retry(fd_);
  R1_CHECK(error == 0 || error == EINVAL, "cannot sync {}: {}", path_, reason(error));
}

}  // namespace r1
