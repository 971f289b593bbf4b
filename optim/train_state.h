// What a trainer needs beside the weights to go on exactly where it stopped: the optimizer's
// moments and the numbers of its own.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "optim/adamw.h"

namespace r1::optim {

// Writes FOLDER/trainer/optimizer.safetensors (exp_avg.NAME, exp_avg_sq.NAME in the parameters'
// dtype) and FOLDER/trainer/state.json (`state` and the number of optimizer steps). FOLDER exists.
void save_trainer(const std::string& folder, AdamW& optimizer, const nlohmann::ordered_json& state);

// Reads them back, to the bit; returns `state`. Throws Error naming the file when a tensor is
// missing, superfluous, or of another shape or dtype.
nlohmann::json load_trainer(const std::string& folder, AdamW& optimizer);

}  // namespace r1::optim
