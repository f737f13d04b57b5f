// The two structs below own all libwebp objects.
#include "io/file.hpp"

#include <glint/core/error.hpp>
#include <glint/image/webp.hpp>
#include <glint/io/utf8.hpp>

#include <webp/encode.h>
#include <webp/mux.h>

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <string>
#include <string_view>

namespace glint {
namespace {

constexpr int kMostLoops = 65535;
constexpr std::string_view kNamespace = "urn:glint:1";

using Encoder = std::unique_ptr<WebPAnimEncoder, decltype(&WebPAnimEncoderDelete)>;
using Mux = std::unique_ptr<WebPMux, decltype(&WebPMuxDelete)>;

struct Picture {
  WebPPicture picture{};
  Picture() { WebPPictureInit(&picture); }
  ~Picture() { WebPPictureFree(&picture); }
  Picture(const Picture&) = delete;
  Picture& operator=(const Picture&) = delete;
};

struct Data {
  WebPData data{};
  Data() { WebPDataInit(&data); }
  ~Data() { WebPDataClear(&data); }
  Data(const Data&) = delete;
  Data& operator=(const Data&) = delete;
};

void check(const Video& video, const WebpOptions& options) {
  GLINT_CHECK(!video.frames.empty(), InvalidArgument, "webp: expected at least one frame, got none");
  GLINT_CHECK(is_frame_rate(video.frames_per_second), InvalidArgument,
              "frames_per_second: expected {} to {}, got {}", kSlowestRate, kFastestRate,
              video.frames_per_second);
  GLINT_CHECK(options.quality >= 0.0 && options.quality <= 100.0, InvalidArgument,
              "quality: expected 0 to 100, got {}", options.quality);
  GLINT_CHECK(options.loops >= 0 && options.loops <= kMostLoops, InvalidArgument,
              "loops: expected 0 to {}, got {}", kMostLoops, options.loops);
  const Image& first = video.frames.front();
  for (const Image& frame : video.frames) {
    GLINT_CHECK(frame.width > 0 && frame.height > 0 && frame.width <= WEBP_MAX_DIMENSION &&
                    frame.height <= WEBP_MAX_DIMENSION,
                InvalidArgument, "webp: expected sides of 1 to {} px, got {}x{}", WEBP_MAX_DIMENSION,
                frame.width, frame.height);
    GLINT_CHECK(frame.width == first.width && frame.height == first.height, InvalidArgument,
                "webp: expected frames of one size, got {}x{} and {}x{}", first.width, first.height,
                frame.width, frame.height);
    GLINT_CHECK(frame.pixels.size() == static_cast<size_t>(3 * frame.width * frame.height), InvalidArgument,
                "webp: {} bytes do not fit {}x{} pixels", frame.pixels.size(), frame.width, frame.height);
  }
}

int milliseconds(size_t frame, double frames_per_second) {
  return static_cast<int>(std::lround(1000.0 * static_cast<double>(frame) / frames_per_second));
}

WebPConfig config_of(const WebpOptions& options) {
  WebPConfig config;
  GLINT_CHECK(WebPConfigInit(&config), Internal, "webp: libwebp is of another version than its headers");
  config.quality = static_cast<float>(options.quality);
  config.lossless = options.lossless ? 1 : 0;
  return config;
}

/// Encodes the animation without texts.
void encode_frames(const Video& video, const WebpOptions& options, Data& out) {
  WebPAnimEncoderOptions animation;
  GLINT_CHECK(WebPAnimEncoderOptionsInit(&animation), Internal,
              "webp: libwebpmux is of another version than its headers");
  animation.anim_params.loop_count = options.loops;
  const WebPConfig config = config_of(options);
  const Image& first = video.frames.front();
  const int width = static_cast<int>(first.width), height = static_cast<int>(first.height);
  const Encoder encoder(WebPAnimEncoderNew(width, height, &animation), &WebPAnimEncoderDelete);
  GLINT_CHECK(encoder, OutOfMemory, "webp: no memory for {}x{} pixels", width, height);
  const auto checked = [&](int done) {
    GLINT_CHECK(done, Internal, "webp: cannot be encoded: {}", WebPAnimEncoderGetError(encoder.get()));
  };
  for (size_t k = 0; k < video.frames.size(); ++k) {
    Picture frame;
    frame.picture.use_argb = 1;
    frame.picture.width = width;
    frame.picture.height = height;
    GLINT_CHECK(WebPPictureImportRGB(&frame.picture, video.frames[k].pixels.data(), 3 * width), OutOfMemory,
                "webp: no memory for a frame of {}x{} pixels", width, height);
    checked(
        WebPAnimEncoderAdd(encoder.get(), &frame.picture, milliseconds(k, video.frames_per_second), &config));
  }
  checked(WebPAnimEncoderAdd(encoder.get(), nullptr,
                             milliseconds(video.frames.size(), video.frames_per_second), nullptr));
  checked(WebPAnimEncoderAssemble(encoder.get(), &out.data));
}

/// Escapes an attribute value. XML readers would turn line breaks into spaces; other control characters are
/// illegal in XML and become the replacement character.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '"': result += "&quot;"; break;
      case '\n': result += "&#10;"; break;
      case '\r': result += "&#13;"; break;
      case '\t': result += "&#9;"; break;
      default:
        if (static_cast<unsigned char>(c) < ' ')
          result += "\xEF\xBF\xBD";
        else
          result += c;
    }
  }
  return result;
}

/// Source:  XMP specification part 1, 7: properties as attributes of one rdf:Description.
std::string xmp_packet(const PngTexts& texts) {
  std::string packet = fmt::format(
      "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF "
      "xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">"
      "<rdf:Description rdf:about=\"\" xmlns:glint=\"{}\"",
      kNamespace);
  for (const auto& [keyword, text] : texts) {
    GLINT_CHECK(
        !keyword.empty() && keyword.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string::npos,
        InvalidArgument, "webp text '{}': a keyword must be lower-case letters and '_'", keyword);
    const auto offset = invalid_utf8_offset(text);
    GLINT_CHECK(!offset, InvalidArgument, "webp text '{}': byte {} is not UTF-8", keyword, *offset);
    packet += fmt::format(" glint:{}=\"{}\"", keyword, escaped(text));
  }
  return packet + "/></rdf:RDF></x:xmpmeta>";
}

void add_texts(const PngTexts& texts, const WebPData& from, Data& out) {
  const std::string packet = xmp_packet(texts);
  const Mux mux(WebPMuxCreate(&from, 0), &WebPMuxDelete);
  GLINT_CHECK(mux, OutOfMemory, "webp: no memory for the texts");
  const WebPData chunk{reinterpret_cast<const uint8_t*>(packet.data()), packet.size()};
  GLINT_CHECK(WebPMuxSetChunk(mux.get(), "XMP ", &chunk, 0) == WEBP_MUX_OK &&
                  WebPMuxAssemble(mux.get(), &out.data) == WEBP_MUX_OK,
              Internal, "webp: the texts cannot be added");
}

}  // namespace

std::vector<uint8_t> encode_webp(const Video& video, const WebpOptions& options, const PngTexts& texts) {
  check(video, options);
  Data plain, whole;
  encode_frames(video, options, plain);
  if (!texts.empty()) add_texts(texts, plain.data, whole);
  const WebPData& data = texts.empty() ? plain.data : whole.data;
  return {data.bytes, data.bytes + data.size};
}

void write_webp(const std::filesystem::path& path, const Video& video, const WebpOptions& options,
                const PngTexts& texts) {
  const auto bytes = encode_webp(video, options, texts);
  const std::string_view piece{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  detail::write_file(path, {&piece, 1});
}

}  // namespace glint
