// The program and the machine it runs on, as `r1 env --json` prints them and env.json records them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace r1::apps {

// version, system, processor, cores, instruction sets, threads, memory (bytes) and limits (absent
// where there is none). Valid UTF-8.
nlohmann::ordered_json environment();

// The words this process was started with, as one line for a shell.
std::string command_line();

}  // namespace r1::apps
