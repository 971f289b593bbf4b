// A run folder: what one training run leaves behind.
//   config.toml                the resolved options, each with its origin
//   env.json                   program, machine, and one entry for every start of the run
//   metrics.jsonl              one line a step
//   checkpoints/step-000040/   a Hugging Face folder plus trainer/ (with manifest.json)
//   model/                     the final model, a Hugging Face folder
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/manifest.h"
#include "data/file.h"

namespace r1::apps {

struct Checkpoint {
  std::int64_t step = 0;
  std::string path;
};

class RunFolder {
 public:
  // Creates the folder, or with `resume` opens an existing one; locks it against other trainers
  // until this object goes. Throws Error when it exists and is not to be resumed, is no run
  // folder, is locked, or cannot be written.
  RunFolder(std::string path, bool resume);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string model_path() const { return path_ + "/model"; }  // AtomicFolder writes it at the end
  std::string config_path() const { return path_ + "/config.toml"; }
  std::string checkpoint_path(std::int64_t step) const;  // RUN/checkpoints/step-000040
  bool finished() const;                                 // the final model is there

  // Whole checkpoints, newest first: sizes and checksums of all files are those of the manifest.
  // A damaged one is passed over with a warning.
  std::optional<Checkpoint> newest_checkpoint() const;

  // Writes config.toml and adds this start to env.json. `step`: where the run goes on, 0 for the
  // beginning.
  void record_start(const std::string& config_toml, std::int64_t step);
  const std::string& run_id() const { return run_id_; }  // of this start

  // metrics.jsonl, ready for the line of step `step` + 1: lines of later steps, and a torn one, are
  // cut. Throws Error when a line that must stay is damaged.
  std::unique_ptr<LineWriter> open_metrics(std::int64_t step);

 private:
  std::string path_;
  std::string run_id_;
  int lock_ = -1;
  bool created_ = false;   // by this object
  bool recorded_ = false;  // a start
};

// Checkpoints of a run folder by their names alone, newest first; temporary folders never count.
std::vector<Checkpoint> list_checkpoints(const std::string& run);

// M of the command line -> a Hugging Face folder or a .gguf file. A run folder stands for its final
// model or, while there is none, its newest checkpoint (a note says so). Throws Error that says
// what was expected.
std::string resolve_model_path(const std::string& model);

}  // namespace r1::apps
