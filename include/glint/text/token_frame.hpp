// How a prompt's ids are framed: their number, start and end ids, and padding.
#pragma once

#include <cstdint>

namespace glint {

/// How a tokenizer frames a prompt's ids; part of its entry in model.json.
struct TokenFrame {
  int64_t max_tokens = 77;  ///< ids per prompt, frame included
  int64_t bos = 0;          ///< start id; clip-bpe only
  int64_t eos = 0;          ///< end id, after the last id that fits
  int64_t pad = 0;          ///< padding id
  bool web_text = false;    ///< first decode HTML character references and collapse white space (Wan)
};

}  // namespace glint
