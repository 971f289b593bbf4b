#include "data/added_tokens.h"

#include <algorithm>
#include <utility>

#include "data/utf8.h"

namespace r1 {

namespace {

uint8_t byte_at(std::string_view text, size_t at) { return static_cast<uint8_t>(text[at]); }

// Offset of the character that ends at `end` > 0.
size_t previous_character(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (byte_at(text, at) & 0xC0) == 0x80) --at;
  return at;
}

bool is_word_between(std::string_view text, size_t begin, size_t end) {
  const bool before =
      begin > 0 && is_word_character(utf8_next(text, previous_character(text, begin)).code);
  const bool after = end < text.size() && is_word_character(utf8_next(text, end).code);
  return !before && !after;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  token_at_.push_back(-1);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    uint32_t node = 0;
    starts_[byte_at(tokens_[i].content, 0)] = true;
    for (const char c : tokens_[i].content) {
      const uint64_t edge = uint64_t{node} * 256 + static_cast<uint8_t>(c);
      const auto [it, added] = edges_.emplace(edge, static_cast<uint32_t>(token_at_.size()));
      if (added) token_at_.push_back(-1);
      node = it->second;
    }
    token_at_[node] = static_cast<int>(i);
  }
}

int AddedTokenMatcher::longest_at(std::string_view text, size_t at) const {
  int found = -1;
  uint32_t node = 0;
  for (; at < text.size(); ++at) {
    const auto edge = edges_.find(uint64_t{node} * 256 + byte_at(text, at));
    if (edge == edges_.end()) break;
    node = edge->second;
    if (token_at_[node] >= 0) found = token_at_[node];
  }
  return found;
}

void AddedTokenMatcher::split(std::string_view text, std::vector<Segment>& segments) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const int index = starts_[byte_at(text, at)] ? longest_at(text, at) : -1;
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = at, end = at + token.content.size();
    at = end;
    if (token.single_word && !is_word_between(text, begin, end)) continue;
    if (token.lstrip)
      while (begin > done) {
        const size_t before = previous_character(text, begin);
        if (!is_white_space(utf8_next(text, before).code)) break;
        begin = before;
      }
    if (token.rstrip)
      while (end < text.size()) {
        const Utf8Step step = utf8_next(text, end);
        if (!is_white_space(step.code)) break;
        end += static_cast<size_t>(step.bytes);
      }
    begin = std::max(begin, done);
    if (end <= done) continue;  // a token of spaces inside the spaces an earlier one took in
    if (begin > done) segments.push_back({text.substr(done, begin - done), -1});
    segments.push_back({text.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), -1});
}

}  // namespace r1
