// How the ids of a prompt are framed: their number, and what stands before, after and behind them.
#pragma once

#include <cstdint>

namespace glint {

/// How a family frames a prompt's ids. Belongs to the tokenizer's entry in model.json.
struct TokenFrame {
  int64_t max_tokens = 77;  ///< ids of every prompt, frame included
  int64_t bos = 0;          ///< put first; clip-bpe only
  int64_t eos = 0;          ///< put after the last id that fits
  int64_t pad = 0;          ///< fills up
  bool web_text = false;    ///< decode HTML's character references and collapse white space first (Wan)
};

}  // namespace glint
