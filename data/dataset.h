// Training sequences and the order in which they are seen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/chat.h"
#include "data/jsonl.h"
#include "data/tokenizer.h"

namespace r1 {

// A sequence and, token by token, whether it is to be predicted from those before it. The first
// token never is.
struct Example {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> learn;  // as long as ids; empty: all of them

  bool learns(std::size_t t) const { return t > 0 && (learn.empty() || learn[t] != 0); }
  std::int64_t targets() const;  // number of tokens to be predicted
};

// What turns text into ids. Without a tokenizer only lines with `ids` can be read.
struct TextReader {
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatForm> chat;  // needed by lines with `messages`
  std::string source;            // names the model in errors
};

// The kind of a line is found from its keys:
//   ids                    as they are; all tokens are learnt (optional `learn`: 0 or 1 a token)
//   messages               the chat form; learnt are the assistant's turns with their end token
//   prompt + completion    two texts; learnt are the completion and the end-of-text token after it
//   text                   learnt whole, with the end-of-text token after it
// Throws Error naming the line.
Example read_example(const JsonLine& line, const std::string& path, const TextReader& reader);

// The examples of a file that have something to learn. Throws Error when none has, naming the
// first line that is wrong, and when one is longer than `max_tokens` or holds an id outside
// [0, vocab).
std::vector<Example> read_examples(const std::string& path, const TextReader& reader,
                                   std::int64_t max_tokens, std::int64_t vocab);

// Endless passes over `size` examples. Which example stands at place n is a pure function of
// (seed, n): nothing needs to be saved.
class DataOrder {
 public:
  DataOrder(std::size_t size, bool shuffle, std::uint64_t seed);
  // Place n = 0, 1, ...; epoch n / size has its own order.
  std::size_t at(std::uint64_t n);

 private:
  std::size_t size_;
  bool shuffle_;
  std::uint64_t seed_;
  std::uint64_t epoch_ = 0;
  std::vector<std::uint32_t> order_;  // of epoch_
};

}  // namespace r1
