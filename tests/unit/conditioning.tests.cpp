// Arithmetic on prompts: it moves the token embeddings and nothing else.
#include <glint/model/conditioning.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/tensors.hpp"

namespace glint {
namespace GLINT_TEST_FILE {

Conditioning prompt(double token, double pooled) {
  return {.tokens = at::full({1, 3, 2}, token),
          .pooled = at::full({1, 5}, pooled),
          .mask = at::ones({1, 3}, at::kBool),
          .extras = {{"time_ids", at::full({1, 6}, 1024.0)}}};
}

bool tokens_are(const Conditioning& c, double value) {
  return at::equal(c.tokens, at::full({1, 3, 2}, value));
}

// Pooled embedding, mask and extras are the first operand's own tensors, not copies.
bool shares_the_rest(const Conditioning& a, const Conditioning& b) {
  return a.pooled.is_same(b.pooled) && a.mask.is_same(b.mask) &&
         a.extras.at("time_ids").is_same(b.extras.at("time_ids"));
}

TEST_CASE("Scaling, adding and mixing prompts change the token embeddings alone", "[unit]") {
  const Conditioning c = prompt(2.0, 7.0), other = prompt(10.0, 9.0);
  CHECK(tokens_are(scale(c, -1.5), -3.0));
  CHECK(tokens_are(add(c, other), 12.0));
  CHECK(tokens_are(add(c, other, -0.5), -3.0));
  CHECK(tokens_are(lerp(c, other, 0.25), 4.0));
  CHECK(tokens_are(lerp(c, other, 0.0), 2.0));
  CHECK(tokens_are(lerp(c, other, 1.0), 10.0));
  CHECK(tokens_are(with_tokens(c, other.tokens), 10.0));
  for (const Conditioning& result :
       {scale(c, -1.5), add(c, other), lerp(c, other, 0.25), with_tokens(c, other.tokens)})
    CHECK(shares_the_rest(result, c));
  CHECK(tokens_are(c, 2.0));
  CHECK(tokens_are(other, 10.0));
}

TEST_CASE("A prompt shared by a batch mixes with one that each sample has of its own", "[unit]") {
  const Conditioning shared = prompt(2.0, 0.0), each{.tokens = at::ones({4, 3, 2})};
  CHECK(add(shared, each).tokens.sizes() == at::IntArrayRef({4, 3, 2}));
  CHECK(at::equal(lerp(each, shared, 0.5).tokens, at::full({4, 3, 2}, 1.5)));
}

}  // namespace GLINT_TEST_FILE
}  // namespace glint
