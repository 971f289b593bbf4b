#include "data/dataset.h"

#include <numeric>
#include <utility>

#include "tensor/error.h"
#include "tensor/random.h"

namespace r1 {
namespace {

const Tokenizer& need_tokenizer(const TextReader& reader, const std::string& where) {
  R1_CHECK(reader.tokenizer.has_value(), "{}: {} has no tokenizer: give `ids` instead of text",
           where, reader.source);
  return *reader.tokenizer;
}

void append(Example& e, const std::vector<std::int32_t>& ids, bool learn) {
  e.ids.insert(e.ids.end(), ids.begin(), ids.end());
  e.learn.insert(e.learn.end(), ids.size(), learn ? 1 : 0);
}

void append_end(Example& e, const Tokenizer& tokenizer) {
  if (tokenizer.eos_id()) append(e, {*tokenizer.eos_id()}, true);
}

Example from_ids(const json::Value& v, const std::string& where) {
  Example e;
  e.ids = get_ids(v, "ids", where);
  if (v.contains("learn")) {
    for (const std::int32_t x : get_ids(v, "learn", where)) {
      R1_CHECK(x == 0 || x == 1, "{}: learn: {} is neither 0 nor 1", where, x);
      e.learn.push_back(static_cast<std::uint8_t>(x));
    }
    R1_CHECK(e.learn.size() == e.ids.size(), "{}: learn has {} entries for {} ids", where,
             e.learn.size(), e.ids.size());
  }
  return e;
}

Example from_messages(const json::Value& v, const std::string& where, const TextReader& reader) {
  const Tokenizer& tokenizer = need_tokenizer(reader, where);
  R1_CHECK(reader.chat.has_value(), "{}: {} has no chat form for `messages`", where, reader.source);
  ChatRequest request = parse_chat_request(v, where);
  request.options.keep_last_reasoning = true;
  const RenderedChat chat =
      reader.chat->render_with_spans(request.messages, request.options, tokenizer.bos_token());
  EncodedChat encoded = encode_chat(tokenizer, chat);
  return {std::move(encoded.ids), std::move(encoded.trained)};
}

}  // namespace

std::int64_t Example::targets() const {
  std::int64_t n = 0;
  for (std::size_t t = 0; t < ids.size(); ++t) n += learns(t) ? 1 : 0;
  return n;
}

Example read_example(const JsonLine& line, const std::string& path, const TextReader& reader) {
  const std::string where = line_name(path, line);
  const json::Value& v = line.value;
  if (v.contains("ids")) return from_ids(v, where);
  if (v.contains("messages")) return from_messages(v, where, reader);
  Example e;
  if (v.contains("prompt") && v.contains("completion")) {
    const Tokenizer& tokenizer = need_tokenizer(reader, where);
    append(e, tokenizer.encode(json::get_string(v, "prompt", where)), false);
    append(e, tokenizer.encode(json::get_string(v, "completion", where)), true);
    append_end(e, tokenizer);
    return e;
  }
  R1_CHECK(v.contains("text"),
           "{}: expected \"ids\", \"messages\", \"prompt\" and \"completion\", or \"text\"", where);
  const Tokenizer& tokenizer = need_tokenizer(reader, where);
  append(e, tokenizer.encode(json::get_string(v, "text", where)), true);
  append_end(e, tokenizer);
  return e;
}

std::vector<Example> read_examples(const std::string& path, const TextReader& reader,
                                   std::int64_t max_tokens, std::int64_t vocab) {
  std::vector<Example> examples;
  for (const JsonLine& line : read_jsonl(path)) {
    Example e = read_example(line, path, reader);
    R1_CHECK(static_cast<std::int64_t>(e.ids.size()) <= max_tokens,
             "{}: {} tokens are more than the model's max_position_embeddings {}: shorten the line",
             line_name(path, line), e.ids.size(), max_tokens);
    for (const std::int32_t id : e.ids) {
      R1_CHECK(id < vocab, "{}: token id {} is outside the model's vocabulary of {}",
               line_name(path, line), id, vocab);
    }
    if (e.targets() > 0) examples.push_back(std::move(e));
  }
  R1_CHECK(!examples.empty(), "{}: no line has a token to learn", path);
  return examples;
}

DataOrder::DataOrder(std::size_t size, bool shuffle, std::uint64_t seed)
    : size_(size), shuffle_(shuffle), seed_(seed) {
  R1_CHECK(size > 0, "data: there is no example");
}

std::size_t DataOrder::at(std::uint64_t n) {
  const std::uint64_t epoch = n / size_;
  const std::size_t place = n % size_;
  if (!shuffle_) return place;
  if (order_.empty() || epoch != epoch_) {
    // Fisher-Yates; the noise is keyed by epoch and place.
    const Random random(seed_, Purpose::shuffle);
    order_.resize(size_);
    std::iota(order_.begin(), order_.end(), 0u);
    for (std::size_t i = size_; i-- > 1;) {
      const auto j =
          random.below(static_cast<std::uint32_t>(i + 1), static_cast<std::uint32_t>(i),
                       static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(epoch >> 32));
      std::swap(order_[i], order_[j]);
    }
    epoch_ = epoch;
  }
  return order_[place];
}

}  // namespace r1
