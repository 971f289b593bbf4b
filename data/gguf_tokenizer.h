// The tokenizer part of a GGUF file's metadata.
#pragma once

#include "data/gguf.h"
#include "data/tokenizer.h"

namespace r1 {

// Throws Error when a key is missing or of another type.
GgufTokenizer gguf_tokenizer(const GgufFile& file);

}  // namespace r1
