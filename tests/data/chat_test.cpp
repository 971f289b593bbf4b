// Chat forms against texts of the published templates.
#include "data/chat.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/file.h"
#include "tensor/error.h"

namespace r1 {
namespace {

using Json = nlohmann::ordered_json;

const std::string kGolden = std::string(R1_GOLDEN_DIR) + "/tokenizers/";
const std::string kShared = R1_SHARED_DIR;

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

void expect_error(const std::string& error, const std::string& part) {
  EXPECT_NE(error.find(part), std::string::npos) << "error \"" << error << "\" lacks: " << part;
}

RenderedChat render(const std::string& form, const Json& request, std::string_view bos = "") {
  const ChatRequest chat = parse_chat_request(request, "line 1");
  return ChatForm::by_name(form).render_with_spans(chat.messages, chat.options, bos);
}

std::vector<std::string> spans_of(const RenderedChat& chat) {
  std::vector<std::string> texts;
  for (const ChatSpan& span : chat.assistant)
    texts.push_back(chat.text.substr(span.begin, span.end - span.begin));
  return texts;
}

// The form is found by the template, and every line of the reference is reproduced.
void check_golden(const std::string& folder, const std::string& lines, const char* form_name) {
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const ChatForm form = ChatForm::of_template(tokenizer.chat_template(), folder);
  EXPECT_EQ(form.name(), form_name);
  EXPECT_TRUE(tokenizer.token_to_id(form.turn_end()).has_value());
  std::ifstream file(lines);
  int count = 0;
  for (std::string line; std::getline(file, line); ++count) {
    const Json item = Json::parse(line);
    const ChatRequest request = parse_chat_request(item, "line");
    EXPECT_EQ(form.render(request.messages, request.options, tokenizer.bos_token()), item["text"])
        << line;
  }
  EXPECT_EQ(count, 13);
}

TEST(Chat, SmolLm2) {
  check_golden(kGolden + "smollm2", kGolden + "smollm2.chat.jsonl", "smollm2");
}

void check_shared(const std::string& name, const char* form) {
  const std::string folder = kShared + "/data/tokenizers/" + name;
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is absent";
  check_golden(folder, kShared + "/golden/tokenizers/" + name + ".chat.jsonl", form);
}
TEST(Chat, DeepSeekV3) { check_shared("deepseek_v3", "deepseek-v3"); }
TEST(Chat, Qwen3) { check_shared("qwen3", "qwen3"); }
TEST(Chat, Llama3) { check_shared("llama3", "llama3-prompting"); }

const Json kTalk = Json::parse(R"({"messages": [
  {"role": "system", "content": "S"},
  {"role": "user", "content": "q1"},
  {"role": "assistant", "content": "<think>\nt1\n</think>\n\na1"},
  {"role": "user", "content": " q2 "},
  {"role": "assistant", "content": "<think>\nt2\n</think>\n\na2"}]})");

TEST(Chat, SpansOfAssistantTurns) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(spans_of(render("qwen3", kTalk)),
            (Texts{"a1<|im_end|>", "<think>\nt2\n</think>\n\na2<|im_end|>"}));
  EXPECT_EQ(spans_of(render("qwen2.5", kTalk)), (Texts{"<think>\nt1\n</think>\n\na1<|im_end|>",
                                                       "<think>\nt2\n</think>\n\na2<|im_end|>"}));
  EXPECT_EQ(spans_of(render("deepseek-r1", kTalk, "<bos>")),
            (Texts{"\n\na1<｜end▁of▁sentence｜>", "\n\na2<｜end▁of▁sentence｜>"}));
  EXPECT_EQ(spans_of(render("llama3", kTalk)), (Texts{"<think>\nt1\n</think>\n\na1<|eot_id|>",
                                                      "<think>\nt2\n</think>\n\na2<|eot_id|>"}));
  ChatRequest request = parse_chat_request(kTalk, "line 1");
  request.options.keep_last_reasoning = true;
  const RenderedChat kept =
      ChatForm::by_name("deepseek-r1").render_with_spans(request.messages, request.options, "");
  EXPECT_EQ(spans_of(kept)[0], "\n\na1<｜end▁of▁sentence｜>");
  EXPECT_EQ(spans_of(kept)[1], "<think>\nt2\n</think>\n\na2<｜end▁of▁sentence｜>");
}

TEST(Chat, WhatEachFormAdds) {
  const Json hi = Json::parse(
      R"({"messages": [{"role": "user", "content": " hi "}], "add_generation_prompt": true})");
  EXPECT_EQ(render("chatml", hi).text, "<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render("qwen2.5", hi).text,
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
            "assistant.<|im_end|>\n<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render("deepseek-r1", hi, "<b>").text, "<b><｜User｜> hi <｜Assistant｜><think>\n");
  EXPECT_EQ(render("deepseek-r1-unfilled", hi, "<b>").text, "<b><｜User｜> hi <｜Assistant｜>");
  EXPECT_EQ(
      render("llama3", hi, "<b>").text,
      "<b><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant"
      "<|end_header_id|>\n\n");
  const std::string dated =
      "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
      "Today Date: 26 Jul "
      "2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\n";
  EXPECT_EQ(render("llama3.1", hi).text, dated);
  Json with_date = hi;
  with_date["kwargs"] = {{"date_string", "26 Jul 2024"}};
  EXPECT_EQ(render("llama3.2", with_date).text, dated);
  EXPECT_NE(render("llama3.2", hi).text.find("Today Date: "), std::string::npos);
  Json quiet = hi;
  quiet["kwargs"] = {{"enable_thinking", false}};
  EXPECT_TRUE(render("qwen3", quiet).text.ends_with("<think>\n\n</think>\n\n"));
  EXPECT_TRUE(render("qwen3-instruct", quiet).text.ends_with("assistant\n"));
}

TEST(Chat, OddThinkBlocks) {
  const Json twice = Json::parse(R"({"messages": [{"role": "user", "content": "q"},
    {"role": "assistant", "content": "<think>a</think>b</think>c"}]})");
  EXPECT_EQ(spans_of(render("qwen3", twice))[0], "<think>\na\n</think>\n\nc<|im_end|>");
  EXPECT_EQ(spans_of(render("deepseek-r1", twice))[0], "c<｜end▁of▁sentence｜>");
  EXPECT_EQ(spans_of(render("deepseek-v3", twice))[0],
            "<think>a</think>b</think>c<｜end▁of▁sentence｜>");
  // Without a question no turn comes after it.
  const Json alone = Json::parse(R"({"messages": [{"role": "assistant", "content": "x"}]})");
  EXPECT_EQ(spans_of(render("qwen3", alone))[0], "x<|im_end|>");
}

TEST(Chat, ToolCalls) {
  const Json talk = Json::parse(R"({"messages": [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": null, "tool_calls": [
      {"type": "function", "function": {"name": "f", "arguments": "{\"z\": 1}"}},
      {"type": "function", "function": {"name": "g", "arguments": "{}"}}]},
    {"role": "tool", "content": "r1"},
    {"role": "tool", "content": "r2"},
    {"role": "assistant", "content": "done"}]})");
  EXPECT_EQ(
      render("deepseek-v3", talk).text,
      "<｜User｜>q<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>"
      "f\n"
      "```json\n{\"z\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n"
      "```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
      "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>r1<｜tool▁output▁end｜>\n"
      "<｜tool▁output▁begin｜>r2<｜tool▁output▁end｜><｜tool▁outputs▁end｜>done"
      "<｜end▁of▁sentence｜>");
  EXPECT_EQ(
      render("qwen3-instruct", talk).text,
      "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{\"name\": \"f\", "
      "\"arguments\": {\"z\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": "
      "{}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\nr1\n</tool_response>\n"
      "<tool_response>\nr2\n</tool_response><|im_end|>\n<|im_start|>assistant\ndone"
      "<|im_end|>\n");
  expect_error(error_of([&] { render("llama3.1", talk); }), "tools are not supported");
  expect_error(error_of([&] { render("smollm2", talk); }), "message 1: content is null");
}

TEST(Chat, UnknownTemplatesAreRefused) {
  expect_error(error_of([] { ChatForm::of_template("{{ messages }}", "m"); }), "qwen3");
  expect_error(error_of([] { ChatForm::of_template("", "m"); }), "no chat template");
  expect_error(error_of([] { ChatForm::by_name("gpt"); }), "smollm2");
  // One changed word is another template; line ends and white space at the end are not.
  std::string text = read_text_file(kGolden + "smollm2/chat_template.jinja");
  EXPECT_EQ(ChatForm::of_template(text + "\n \n", "m").name(), "smollm2");
  std::string dos;
  for (const char c : text) dos += c == '\n' ? "\r\n" : std::string(1, c);
  EXPECT_EQ(ChatForm::of_template(dos, "m").name(), "smollm2");
  text.replace(text.find("helpful"), 7, "Helpful");
  EXPECT_NE(error_of([&] { ChatForm::of_template(text, "m"); }), "");
  EXPECT_EQ(ChatForm::of_template(kChatMlTemplate, "m").name(), "chatml");
}

TEST(Chat, BadRequests) {
  const auto error = [](const char* text) {
    return error_of([&] { render("qwen3", Json::parse(text)); });
  };
  expect_error(error("{}"), "messages is missing");
  expect_error(error(R"({"messages": []})"), "no messages");
  expect_error(error(R"({"messages": {}})"), "expected an array");
  expect_error(error(R"({"messages": [5]})"), "message 0");
  expect_error(error(R"({"messages": [{"role": "user"}]})"), "content is missing");
  expect_error(error(R"({"messages": [{"role": "user", "content": 5}]})"), "expected a string");
  expect_error(error(R"({"messages": [{"role": "user", "content": null}]})"), "content is null");
  expect_error(error(R"({"messages": [{"role": "ghost", "content": "x"}]})"), "ghost");
  expect_error(error(R"({"messages": [{"role": "user", "content": "x"}], "kwargs": {"a": 1}})"),
               "\"a\" is not known");
  expect_error(
      error(
          R"({"messages": [{"role": "user", "content": "x"}], "kwargs": {"enable_thinking": 1}})"),
      "expected true or false");
}

TEST(Chat, EncodedWithTargets) {
  const Tokenizer tokenizer = Tokenizer::load(kGolden + "smollm2");
  const RenderedChat chat = render("smollm2", kTalk);
  const EncodedChat encoded = encode_chat(tokenizer, chat);
  EXPECT_EQ(encoded.ids.size(), encoded.trained.size());
  EXPECT_EQ(tokenizer.decode(encoded.ids), chat.text);
  std::string targets;
  for (size_t i = 0; i < encoded.ids.size(); ++i)
    if (encoded.trained[i]) targets += tokenizer.token_bytes(encoded.ids[i]);
  EXPECT_EQ(targets, spans_of(chat)[0] + spans_of(chat)[1]);
  // What comes before a target is what generation reads as its prompt.
  const size_t first = static_cast<size_t>(
      std::find(encoded.trained.begin(), encoded.trained.end(), 1) - encoded.trained.begin());
  EXPECT_EQ(std::vector<int32_t>(encoded.ids.begin(),
                                 encoded.ids.begin() + static_cast<std::ptrdiff_t>(first)),
            tokenizer.encode(chat.text.substr(0, chat.assistant[0].begin)));
}

}  // namespace
}  // namespace r1
