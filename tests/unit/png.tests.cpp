#include <glint/core/tensor.hpp>
#include <glint/image/image.hpp>
#include <glint/image/image_file.hpp>
#include <glint/image/webp.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <limits>

using namespace glint;
using test::Contains;
using test::TemporaryFolder;

namespace GLINT_TEST_FILE {

Image gradient(int64_t width, int64_t height) {
  Image image{width, height, {}};
  for (int64_t i = 0; i < 3 * width * height; ++i) image.pixels.push_back(static_cast<uint8_t>(i * 7));
  return image;
}

at::Tensor values(std::vector<float> reds) {
  const auto count = static_cast<int64_t>(reds.size());
  auto tensor = at::zeros({3, 1, count});
  for (int64_t i = 0; i < count; ++i) tensor[0][0][i].fill_(reds[static_cast<size_t>(i)]);
  return tensor;
}

TEST_CASE("Pixels are rounded as diffusers rounds them", "[unit]") {
  // (x / 2 + 0.5).clamp(0, 1), times 255, numpy's round: ties go to even. 0.5/255 and 1.5/255 are such ties.
  const auto images = to_images(values({-1.0f, 1.0f, 0.0f, -5.0f, 5.0f, 0.5f, -0.25f}));
  REQUIRE(images.size() == 1);
  CHECK(images[0].width == 7);
  CHECK(images[0].height == 1);
  std::vector<int> reds;
  for (size_t i = 0; i < 7; ++i) reds.push_back(images[0].pixels[3 * i]);
  CHECK(reds == std::vector<int>{0, 255, 128, 0, 255, 191, 96});  // 127.5 -> 128; 191.25; 95.625
  CHECK(images[0].pixels[1] == 128);                              // green
}

TEST_CASE("A batch gives one picture per row, in any floating dtype", "[unit]") {
  auto batch = at::zeros({2, 3, 4, 5}, at::kHalf);
  batch[1].fill_(1.0);
  const auto images = to_images(batch);
  REQUIRE(images.size() == 2);
  CHECK(images[0].pixels[0] == 128);
  CHECK(images[1].pixels[0] == 255);
  CHECK(images[1].width == 5);
  CHECK(to_images(to_tensor(gradient(6, 5)))[0] == gradient(6, 5));
}

TEST_CASE("Tensors that are no pictures are refused", "[unit]") {
  CHECK_THAT(test::failure([] {
               to_images(at::zeros({4, 8, 8}));
             }),
             Contains("ShapeMismatch") && Contains("[4,8,8]"));
  CHECK_THAT(test::failure([] { to_images(at::Tensor()); }), Contains("ShapeMismatch"));
  CHECK_THAT(test::failure([] { to_images(at::zeros({3, 8, 8}, at::kLong)); }), Contains("UnsupportedDtype"));
  CHECK_THAT(test::failure([] {
               to_images(values({0.0f, std::numeric_limits<float>::quiet_NaN()}));
             }),
             Contains("Numerical") && Contains("column 1"));
  CHECK(to_images(values({std::numeric_limits<float>::infinity()}))[0].pixels[0] == 255);
}

TEST_CASE("Enlarging keeps flat colour, squares pixels or smooths between them", "[unit]") {
  const Image two{2, 1, {0, 0, 0, 240, 240, 240}};
  const auto nearest = enlarge(two, 3, Enlarging::Nearest);
  CHECK(nearest.width == 6);
  CHECK(nearest.height == 3);
  CHECK(nearest.pixels[3 * 2] == 0);
  CHECK(nearest.pixels[3 * 3] == 240);
  const auto smooth = enlarge(two, 4);
  for (size_t x = 1; x < 8; ++x) CHECK(smooth.pixels[3 * x] >= smooth.pixels[3 * (x - 1)]);
  CHECK(smooth.pixels[3 * 3] + smooth.pixels[3 * 4] == 240);  // symmetric about the middle
  const Image flat{3, 2, std::vector<uint8_t>(18, 77)};
  CHECK(enlarge(flat, 5).pixels == std::vector<uint8_t>(18 * 25, 77));
  CHECK(enlarge(two, 1) == two);
  CHECK_THAT(test::failure([&] { enlarge(two, 0); }), Contains("InvalidArgument: factor"));
  CHECK_THAT(test::failure([&] { enlarge({2, 2, {1}}, 2); }), Contains("InvalidArgument"));
}

TEST_CASE("A grid lays pictures out row by row", "[unit]") {
  const std::vector<Image> images(3, Image{2, 2, std::vector<uint8_t>(12, 9)});
  const auto sheet = contact_sheet(images, {.columns = 2, .gap = 1, .background = {255, 0, 0}});
  CHECK(sheet.width == 5);
  CHECK(sheet.height == 5);
  CHECK(sheet.pixels[0] == 9);
  CHECK(sheet.pixels[3 * 2] == 255);                // the gap
  CHECK(sheet.pixels[3 * (3 * 5 + 0)] == 9);        // third picture, second row
  CHECK(sheet.pixels[3 * (3 * 5 + 3) + 0] == 255);  // the empty cell
  CHECK(contact_sheet(images).width == 4);
  CHECK_THAT(test::failure([] { contact_sheet({}); }), Contains("InvalidArgument"));
}

TEST_CASE("A PNG is read back byte for byte, with its texts", "[unit]") {
  const TemporaryFolder folder;
  const PngTexts texts{{"prompt", "a red star \xE2\x98\x85\nabove"}, {"seed", "42"}, {"empty", ""}};
  write_png(folder / "x.png", gradient(17, 11), texts);
  PngTexts read;
  CHECK(read_png(folder / "x.png", &read) == gradient(17, 11));
  CHECK(read == texts);
  CHECK(decode_png(encode_png(gradient(1, 1))) == gradient(1, 1));
}

TEST_CASE("A picture is written in the format its file's name asks for", "[unit]") {
  const TemporaryFolder folder;
  const PngTexts texts{{"seed", "42"}};
  const auto written = [&](const char* name) {
    write_image(folder / name, gradient(8, 6), texts);
    return test::read_bytes(folder / name);
  };
  const auto bytes = [](const std::vector<uint8_t>& encoded) {
    return std::string(encoded.begin(), encoded.end());
  };
  CHECK(written("x.png") == bytes(encode_png(gradient(8, 6), texts)));
  CHECK(written("x") == written("x.png"));
  CHECK(written("x.webp") == bytes(encode_webp({.frames = {gradient(8, 6)}}, {}, texts)));
  CHECK(image_extensions() == std::vector<std::string_view>{".png", ".webp"});
  CHECK(test::failure([&] { write_image(folder / "x.jpg", gradient(8, 6)); }) ==
        "InvalidArgument: " + (folder / "x.jpg").string() +
            ": expected a name that ends in .png or .webp, got '.jpg'");
}

TEST_CASE("PNG files that cannot be read or written name their path", "[unit]") {
  const TemporaryFolder folder;
  CHECK_THAT(test::failure([&] { read_png(folder / "none.png"); }),
             Contains("NotFound: ") && Contains("none.png"));
  test::write_bytes(folder / "text.png", "not a picture");
  CHECK_THAT(test::failure([&] { read_png(folder / "text.png"); }),
             Contains("InvalidArgument: " + (folder / "text.png").string()));
  test::write_bytes(folder / "empty.png", "");
  CHECK_THAT(test::failure([&] { read_png(folder / "empty.png"); }), Contains("InvalidArgument: "));
  CHECK_THAT(test::failure([&] { write_png(folder / "missing/x.png", gradient(2, 2)); }),
             Contains("NotFound: " + (folder / "missing/x.png").string()));
  CHECK_THAT(test::failure([&] { write_png(folder / "text.png/x.png", gradient(2, 2)); }),
             Contains("InvalidArgument: "));
  CHECK_THAT(test::failure([&] { write_png(folder / "x.png", {0, 0, {}}); }), Contains("InvalidArgument: "));
  CHECK_THAT(test::failure([&] { encode_png(gradient(2, 2), {{"", "x"}}); }), Contains("keyword"));
  CHECK_THAT(test::failure([&] { encode_png(gradient(2, 2), {{"prompt", "\xFF"}}); }), Contains("not UTF-8"));
  // A header that promises more pixels than anyone has memory for.
  const auto bytes = encode_png(gradient(2, 2));
  std::string huge(bytes.begin(), bytes.end());
  huge[16] = huge[20] = 0;
  huge[17] = huge[21] = 0x0F;
  CHECK_THAT(test::failure([&] { read_png(test::write_bytes(folder / "huge.png", huge)); }),
             Contains("InvalidArgument: "));
  write_png(folder / "x.png", gradient(2, 2));
  CHECK(read_png(folder / "x.png") == gradient(2, 2));
}

TEST_CASE("No damage to a PNG file does more than fail", "[unit]") {
  const auto bytes = encode_png(gradient(9, 7), {{"prompt", "a star"}, {"seed", "7"}});
  const std::string good(bytes.begin(), bytes.end());
  std::mt19937 random(2);
  int refused = 0;
  for (int i = 0; i < 4000; ++i) {
    const auto bad = test::mutated(good, random);
    PngTexts texts;
    const auto error = test::error_of([&] {
      decode_png({reinterpret_cast<const uint8_t*>(bad.data()), bad.size()}, &texts);
    });
    refused += error ? 1 : 0;
    if (error) CHECK(error->code() == ErrorCode::InvalidArgument);
  }
  CHECK(refused > 1000);
}

}  // namespace GLINT_TEST_FILE
