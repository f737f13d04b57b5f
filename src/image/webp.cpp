// The two structs below own all libwebp objects.
#include "core/boundary.hpp"
#include "io/file.hpp"

#include <glint/core/error.hpp>
#include <glint/image/webp.hpp>
#include <glint/io/utf8.hpp>

#include <webp/encode.h>
#include <webp/mux.h>

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace glint {
namespace {

constexpr int kMostLoops = 65535;
constexpr std::string_view kNamespace = "urn:glint:1";

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

/// libwebp's buffer for what it encodes.
struct Memory {
  std::unique_ptr<WebPMemoryWriter> writer = std::make_unique<WebPMemoryWriter>();
  Memory() { WebPMemoryWriterInit(writer.get()); }
  ~Memory() { WebPMemoryWriterClear(writer.get()); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
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

/// Encodes one picture as a file of its own.
void encode_picture(const Image& image, const WebPConfig& config, WebPMemoryWriter& out) {
  Picture picture;
  WebPPicture& p = picture.picture;
  p.use_argb = 1;
  p.width = static_cast<int>(image.width);
  p.height = static_cast<int>(image.height);
  p.writer = WebPMemoryWrite;
  p.custom_ptr = &out;
  GLINT_CHECK(WebPPictureImportRGB(&p, image.pixels.data(), 3 * p.width), OutOfMemory,
              "webp: no memory for {}x{} pixels", p.width, p.height);
  GLINT_CHECK(WebPEncode(&config, &p), Internal, "webp: cannot be encoded: error {}",
              static_cast<int>(p.error_code));
}

/// Encodes the animation without texts. Each frame is encoded by itself: libwebp's encoder of animations
/// drops those that resemble the previous one, and with them the video's number of frames.
void encode_frames(const Video& video, const WebpOptions& options, Data& out) {
  const WebPConfig config = config_of(options);
  const Mux mux(WebPMuxNew(), &WebPMuxDelete);
  GLINT_CHECK(mux, OutOfMemory, "webp: no memory for {} frames", video.frames.size());
  const auto checked = [](WebPMuxError error) {
    GLINT_CHECK(error != WEBP_MUX_MEMORY_ERROR, OutOfMemory, "webp: no memory for the frames");
    GLINT_CHECK(error == WEBP_MUX_OK, Internal, "webp: cannot be put together: error {}",
                static_cast<int>(error));
  };
  for (size_t k = 0; k < video.frames.size(); ++k) {
    const Memory encoded;
    encode_picture(video.frames[k], config, *encoded.writer);
    const WebPData bytes{encoded.writer->mem, encoded.writer->size};
    if (video.frames.size() == 1) {
      checked(WebPMuxSetImage(mux.get(), &bytes, 1));
      break;
    }
    WebPMuxFrameInfo frame{};
    frame.bitstream = bytes;
    frame.id = WEBP_CHUNK_ANMF;
    frame.duration = milliseconds(k + 1, video.frames_per_second) - milliseconds(k, video.frames_per_second);
    frame.dispose_method = WEBP_MUX_DISPOSE_NONE;
    frame.blend_method = WEBP_MUX_NO_BLEND;
    checked(WebPMuxPushFrame(mux.get(), &frame, 1));
  }
  if (video.frames.size() > 1) {
    const WebPMuxAnimParams animation{.bgcolor = 0xFFFFFFFF, .loop_count = options.loops};
    checked(WebPMuxSetAnimationParams(mux.get(), &animation));
    const Image& first = video.frames.front();
    checked(WebPMuxSetCanvasSize(mux.get(), static_cast<int>(first.width), static_cast<int>(first.height)));
  }
  checked(WebPMuxAssemble(mux.get(), &out.data));
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

/// Inverse of `escaped`.
std::string unescaped(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, char>, 6> kNames{
      {{"&amp;", '&'}, {"&lt;", '<'}, {"&quot;", '"'}, {"&#10;", '\n'}, {"&#13;", '\r'}, {"&#9;", '\t'}}};
  std::string result;
  while (!text.empty()) {
    size_t taken = 0;
    for (const auto& [name, character] : kNames)
      if (text.starts_with(name)) {
        result += character;
        taken = name.size();
      }
    if (taken == 0) result += text[taken++];
    text.remove_prefix(taken);
  }
  return result;
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

PngTexts webp_texts(std::span<const uint8_t> bytes) {
  const WebPData file{bytes.data(), bytes.size()};
  const Mux mux(WebPMuxCreate(&file, 0), &WebPMuxDelete);
  WebPData chunk{};
  PngTexts texts;
  if (!mux || WebPMuxGetChunk(mux.get(), "XMP ", &chunk) != WEBP_MUX_OK) return texts;
  const std::string_view packet{reinterpret_cast<const char*>(chunk.bytes), chunk.size};
  constexpr std::string_view kName = " glint:", kQuote = "=\"";
  for (size_t at = packet.find(kName); at != packet.npos; at = packet.find(kName, at)) {
    at += kName.size();
    const size_t equals = packet.find(kQuote, at);
    const size_t end = equals == packet.npos ? equals : packet.find('"', equals + kQuote.size());
    if (end == packet.npos) break;
    const std::string text = unescaped(packet.substr(equals + kQuote.size(), end - equals - kQuote.size()));
    if (!invalid_utf8_offset(text)) texts[std::string(packet.substr(at, equals - at))] = text;
    at = end;
  }
  return texts;
}

void write_webp(const std::filesystem::path& path, const Video& video, const WebpOptions& options,
                const PngTexts& texts) {
  detail::at_boundary(ErrorCode::Io, path.string(), [&] {
    const auto bytes = encode_webp(video, options, texts);
    const std::string_view piece{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    detail::write_file(path, {&piece, 1});
  });
}

}  // namespace glint
