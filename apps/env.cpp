// `r1 env`: what to put into a bug report.
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/environment.h"
#include "apps/options.h"
#include "apps/terminal.h"

namespace r1::apps {
namespace {

using nlohmann::ordered_json;

std::string bytes_text(const ordered_json& bytes) { return format_bytes(bytes.get<double>()); }

void print_text(const ordered_json& env) {
  const auto row = [](std::string_view name, const std::string& value) {
    write_line(fmt::format("{:<18} {}", name, value));
  };
  const auto text = [&](const char* key) { return env[key].get<std::string>(); };
  row("version", text("version"));
  row("system", text("system") + (text("distribution").empty() ? "" : ", " + text("distribution")));
  row("processor", text("processor"));
  row("cores", fmt::format("{} usable of {}", env["cores"]["usable"].get<int>(),
                           env["cores"]["online"].get<int>()));
  std::string sets;
  for (const auto& name : env["instruction_sets"]) sets += name.get<std::string>() + " ";
  row("instruction sets", fmt::format("{}(in use: {})", sets, text("instruction_set")));
  row("threads", fmt::format("{}", env["threads"].get<int>()));
  row("memory", fmt::format("{}, {} available", bytes_text(env["memory"]["total"]),
                            bytes_text(env["memory"]["available"])));
  std::string limits;
  for (const auto& [name, value] : env["limits"].items()) {
    std::string words = name;
    for (char& c : words)
      if (c == '_') c = ' ';
    limits += fmt::format("{}{} {}", limits.empty() ? "" : ", ", words,
                          name == "open_files" ? value.dump() : bytes_text(value));
  }
  row("limits", limits.empty() ? "none" : limits);
}

}  // namespace

void add_env(CLI::App& program) {
  auto json = std::make_shared<bool>(false);
  Options options(program, "env", kProgramVerbs, "the version, the machine and its limits");
  add_threads(options);
  add_json(options, json.get());
  options.epilog("R1_ISA=baseline (or avx2, ...) makes every verb use a lower instruction set.\n");
  options.run([json] {
    const ordered_json env = environment();
    if (*json) write_line(env.dump());
    else print_text(env);
  });
}

}  // namespace r1::apps
