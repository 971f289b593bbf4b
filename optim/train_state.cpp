#include "optim/train_state.h"

#include <filesystem>

#include "data/file.h"
#include "data/json.h"
#include "data/safetensors.h"

namespace r1::optim {
namespace {

std::string tensors_path(const std::string& folder) {
  return folder + "/trainer/optimizer.safetensors";
}
std::string state_path(const std::string& folder) { return folder + "/trainer/state.json"; }

void read_moment(const SafetensorsFile& file, const std::string& name, Tensor& out) {
  const TensorEntry& e = file.at(name);
  R1_CHECK(e.shape() == out.shape() && e.dtype == file_dtype(out.dtype()),
           "{}: {} is {} but the model needs {} {}", file.where(), name, e.str(),
           name_of(out.dtype()), out.shape());
  read_tensor(e, out, file.where());
}

}  // namespace

void save_trainer(const std::string& folder, AdamW& optimizer,
                  const nlohmann::ordered_json& state) {
  std::error_code error;
  std::filesystem::create_directories(folder + "/trainer", error);
  R1_CHECK(!error, "cannot create {}/trainer: {}", folder, error.message());
  std::vector<TensorEntry> entries;
  for (std::size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const std::string& name = optimizer.parameters()[i].name;
    entries.push_back(entry_of("exp_avg." + name, optimizer.exp_avg(i)));
    entries.push_back(entry_of("exp_avg_sq." + name, optimizer.exp_avg_sq(i)));
  }
  write_safetensors(tensors_path(folder), entries);
  nlohmann::ordered_json json = state;
  json["optimizer_steps"] = optimizer.steps();
  write_file_atomically(state_path(folder), json.dump(2) + "\n");
}

nlohmann::json load_trainer(const std::string& folder, AdamW& optimizer) {
  const SafetensorsFile file = SafetensorsFile::open(tensors_path(folder));
  const std::size_t n = optimizer.parameters().size();
  R1_CHECK(file.entries().size() == 2 * n, "{}: {} tensors where {} parameters need {}",
           file.where(), file.entries().size(), n, 2 * n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::string& name = optimizer.parameters()[i].name;
    read_moment(file, "exp_avg." + name, optimizer.exp_avg(i));
    read_moment(file, "exp_avg_sq." + name, optimizer.exp_avg_sq(i));
  }
  nlohmann::json state = json::read_file(state_path(folder));
  optimizer.set_steps(json::get_int(state, "optimizer_steps", state_path(folder), 0));
  return state;
}

}  // namespace r1::optim
