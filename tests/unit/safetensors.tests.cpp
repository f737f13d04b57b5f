#include <glint/io/safetensors.hpp>

#include "tests/support/catch.hpp"
#include "tests/support/files.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <set>

using namespace glint;
using test::Contains;
using test::TemporaryFolder;

namespace GLINT_TEST_FILE {

/// A file with this header and data, however wrong they are.
std::string file_bytes(const std::string& header, const std::string& data,
                       std::optional<uint64_t> length = {}) {
  uint64_t size = length.value_or(header.size());
  std::string bytes(reinterpret_cast<const char*>(&size), sizeof size);
  return bytes + header + data;
}

std::string failure_of(const TemporaryFolder& folder, const std::string& bytes) {
  return test::failure([&] { read_safetensors(test::write_bytes(folder / "bad.safetensors", bytes)); });
}

TensorMap example() {
  const auto numbers = at::arange(12, at::TensorOptions().dtype(at::kFloat)).reshape({3, 4});
  TensorMap tensors;
  for (auto dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort,
                     at::kChar, at::kByte, at::kBool})
    tensors[std::string("t.") + at::toString(dtype)] = numbers.to(dtype);
  tensors["empty"] = at::zeros({0, 5});
  tensors["scalar"] = at::full({}, 2.5);
  tensors["transposed"] = numbers.t();
  return tensors;
}

TEST_CASE("What is written to safetensors is read back, every dtype, with metadata", "[unit]") {
  const TemporaryFolder folder;
  const auto tensors = example();
  const Metadata metadata{{"prompt", "a \"star\" \xE2\x98\x85"}, {"seed", "7"}};
  write_safetensors(folder / "x.safetensors", tensors, metadata);
  Metadata read;
  const auto again = read_safetensors(folder / "x.safetensors", &read);
  CHECK(read == metadata);
  REQUIRE(again.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    CAPTURE(name);
    CHECK(again.at(name).scalar_type() == tensor.scalar_type());
    CHECK(at::equal(again.at(name), tensor));
  }
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) ==
        1);  // no temporary file is left
}

TEST_CASE("A file of the reference implementation is read", "[unit]") {
  const auto tensors = read_safetensors(test::data("modules/expected.safetensors"));
  const auto& ids = tensors.at("ids");
  CHECK(ids.scalar_type() == at::kLong);
  CHECK(ids.sizes() == at::IntArrayRef({2, 8}));
  CHECK(ids[1][2].item<int64_t>() == 8);
  CHECK(tensors.at("a.latents").sizes() == at::IntArrayRef({2, 4, 8, 8}));
}

TEST_CASE("Tensors share memory of their own, which nothing done to the file changes", "[unit]") {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  write_safetensors(path, {{"a", at::full({1000}, 3.0)}, {"b", at::full({8}, 4.0)}});
  auto tensors = read_safetensors(path);
  const auto a = tensors.at("a"), b = tensors.at("b");
  tensors.clear();
  // One read: b's data lies directly behind a's.
  CHECK(static_cast<const char*>(a.const_data_ptr()) + a.nbytes() ==
        static_cast<const char*>(b.const_data_ptr()));
  // A mapping would end the process here, or change with the file.
  std::filesystem::resize_file(path, 4096);
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary) << std::string(4096, '\x7f');
  CHECK(a.sum().item<double>() == 3000.0);
  std::filesystem::resize_file(path, 0);
  CHECK(a.sum().item<double>() == 3000.0);
  std::filesystem::remove(path);
  CHECK(b.sum().item<double>() == 32.0);

  write_safetensors(path, {{"a", at::full({4}, 3.0)}});
  read_safetensors(path).at("a").fill_(9.0);
  CHECK(read_safetensors(path).at("a")[0].item<double>() == 3.0);
}

TEST_CASE("The reference implementation's verdict on a list of files is ours, but for what C++ cannot hold",
          "[unit]") {
  // Sizes beyond int64, bools that are neither 0 nor 1; and names that appear twice, of which the reference
  // silently drops one.
  const std::set<std::string> deviations{"size zero and huge", "bool of two", "same name twice"};
  const TemporaryFolder folder;
  const auto list = nlohmann::json::parse(test::read_bytes(test::data("safetensors/verdicts.json")));
  CHECK(list["cases"].size() > 50);
  for (const auto& entry : list["cases"]) {
    std::string bytes;
    const auto hex = entry["bytes"].get<std::string>();
    for (size_t i = 0; i < hex.size(); i += 2)
      bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    const std::string name = entry["name"].get<std::string>();
    const std::string said = test::failure([&] { read_safetensors(test::write_bytes(folder / "x", bytes)); });
    CAPTURE(name, said);
    const bool accepted = said == "no error";
    CHECK(accepted == (entry["accepted"].get<bool>() && !deviations.contains(name)));
    if (!accepted) CHECK_THAT(said, Contains("BadModel: "));
  }
}

TEST_CASE("Headers of a hundred thousand tensors are read and written", "[unit]") {
  // The library's parser used to look at all earlier tensors after each one: minutes for this file.
  const TemporaryFolder folder;
  const auto path = folder / "many.safetensors";
  std::string header = "{";
  constexpr int kTensors = 100'000;
  for (int i = 0; i < kTensors; ++i)
    header +=
        fmt::format("{}\"layers.{}.weight\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{},{}]}}",
                    i ? "," : "", i, i, i + 1);
  test::write_bytes(path, file_bytes(header + "}", std::string(kTensors, '\3')));
  const TensorMap tensors = read_safetensors(path);
  CHECK(tensors.size() == kTensors);
  CHECK(tensors.at("layers.99999.weight")[0].item<int>() == 3);
}

TEST_CASE("Data that is not aligned in the file is copied", "[unit]") {
  const TemporaryFolder folder;
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  const std::array<float, 2> values{1.5f, -2.0f};
  std::string data(1, '\7');
  data.append(reinterpret_cast<const char*>(values.data()), sizeof values);
  const auto tensors = read_safetensors(test::write_bytes(folder / "x", file_bytes(header, data)));
  CHECK(reinterpret_cast<uintptr_t>(tensors.at("b").const_data_ptr()) % 4 == 0);
  CHECK(tensors.at("b")[1].item<float>() == -2.0f);
}

TEST_CASE("A malformed safetensors file is refused with the file and the tensor named", "[unit]") {
  const TemporaryFolder folder;
  const auto one = [](const std::string& fields) { return R"({"w":{)" + fields + "}}"; };
  struct Case {
    const char* what;
    std::string bytes, message;
  };
  const std::vector<Case> cases{
      {"empty file", "", "truncated: 0 bytes"},
      {"shorter than a length", "1234567", "truncated: 7 bytes"},
      {"length over the file", file_bytes("{}", "", 1000), "header length 1000 is over the file size 10"},
      {"length over all limits", file_bytes("{}", "", ~uint64_t{0}), "over the limit"},
      {"not JSON", file_bytes("{\"w\":", ""), "not valid JSON"},
      {"not an object", file_bytes("[1]", ""), "expected an object, got array"},
      {"not UTF-8", file_bytes("{\"\xFF\":1}", ""), "byte 2 is not UTF-8"},
      {"too deep", file_bytes(std::string(100, '[') + std::string(100, ']'), ""), "nested deeper"},
      {"duplicate name",
       file_bytes(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                  "x"),
       "'w' appears twice"},
      {"unknown dtype", file_bytes(one(R"("dtype":"F4","shape":[1],"data_offsets":[0,1])"), "x"),
       "tensor 'w': unknown dtype string \"F4\""},
      {"no dtype", file_bytes(one(R"("shape":[1],"data_offsets":[0,1])"), "x"),
       "tensor 'w': dtype: expected"},
      {"no shape", file_bytes(one(R"("dtype":"U8","data_offsets":[0,1])"), "x"),
       "tensor 'w': shape: expected"},
      {"no offsets", file_bytes(one(R"("dtype":"U8","shape":[1])"), "x"),
       "tensor 'w': data_offsets: expected"},
      {"sizes whose strides overflow",
       file_bytes(one(R"("dtype":"U8","shape":[4,0,9223372036854775807],"data_offsets":[0,0])"), ""),
       "tensor 'w': shape: product overflows"},
      {"too many dimensions",
       file_bytes(
           one(R"("dtype":"U8","shape":[)" + nlohmann::json(std::vector<int>(65, 1)).dump().substr(1, 129) +
               R"(],"data_offsets":[0,1])"),
           "x"),
       "tensor 'w': shape: expected at most 64 dimensions, got 65"},
      {"negative size", file_bytes(one(R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])"), "x"),
       "tensor 'w': shape: expected non-negative integers, got number -1"},
      {"product overflow",
       file_bytes(one(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])"), ""),
       "tensor 'w': shape: product overflows"},
      {"product overflow with zero",
       file_bytes(one(R"("dtype":"U8","shape":[18446744073709551615,0],"data_offsets":[0,0])"), ""),
       "tensor 'w': shape: product overflows"},
      {"offsets outside", file_bytes(one(R"("dtype":"U8","shape":[2],"data_offsets":[0,2])"), "x"),
       "tensor 'w': data_offsets [0,2] lie outside the 1 bytes of data"},
      {"offsets backwards", file_bytes(one(R"("dtype":"U8","shape":[1],"data_offsets":[1,0])"), "x"),
       "tensor 'w': data_offsets [1,0] lie outside"},
      {"size mismatch", file_bytes(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,2])"), "xx"),
       "tensor 'w': shape and dtype need 4 bytes, data_offsets give 2"},
      {"overlap",
       file_bytes(R"({"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                  R"("w":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                  "xyz"),
       "tensor 'w': data overlaps"},
      {"gap", file_bytes(one(R"("dtype":"U8","shape":[1],"data_offsets":[1,2])"), "xy"),
       "belong to no tensor"},
      {"tail", file_bytes(one(R"("dtype":"U8","shape":[1],"data_offsets":[0,1])"), "xy"),
       "1 bytes at the end"},
      {"boolean that is none", file_bytes(one(R"("dtype":"BOOL","shape":[2],"data_offsets":[0,2])"), "\1\2"),
       "tensor 'w': BOOL data"},
      {"metadata not texts", file_bytes(R"({"__metadata__":{"seed":7}})", ""),
       "__metadata__.seed: expected a string, got number 7"}};
  for (const auto& c : cases) {
    CAPTURE(c.what);
    const auto message = failure_of(folder, c.bytes);
    CHECK_THAT(message, Contains("BadModel: " + (folder / "bad.safetensors").string()));
    CHECK_THAT(message, Contains(c.message));
  }
  // The reader is as good as new after every failure.
  CHECK(read_safetensors(test::data("modules/expected.safetensors")).size() > 10);
}

TEST_CASE("A missing safetensors file is NotFound, a folder InvalidArgument", "[unit]") {
  const TemporaryFolder folder;
  CHECK_THAT(test::failure([&] { read_safetensors(folder / "none"); }),
             Contains("NotFound: ") && Contains("/none"));
  CHECK_THAT(test::failure([&] { read_safetensors(folder.path()); }), Contains("InvalidArgument: "));
}

TEST_CASE("Tensors that cannot be written are refused, and nothing is left behind", "[unit]") {
  const TemporaryFolder folder;
  const TensorMap good{{"a", at::zeros({2})}};
  test::write_bytes(folder / "file", "x");
  CHECK_THAT(test::failure([&] { write_safetensors(folder / "missing/x", good); }),
             Contains("NotFound: " + (folder / "missing/x").string()));
  CHECK_THAT(test::failure([&] { write_safetensors(folder / "file/x", good); }),
             Contains("InvalidArgument: " + (folder / "file/x").string()));
  CHECK_THAT(test::failure([&] { write_safetensors(folder.path(), good); }), Contains("InvalidArgument: "));
  CHECK_THAT(test::failure([&] {
               write_safetensors(folder / "x", {{"c", at::zeros({1}, at::kComplexFloat)}});
             }),
             Contains("UnsupportedDtype: ") && Contains("tensor 'c'"));
  CHECK_THAT(test::failure([&] {
               write_safetensors(folder / "x", {{"u", at::Tensor()}});
             }),
             Contains("undefined"));
  CHECK_THAT(test::failure([&] {
               write_safetensors(folder / "x", {{"\xFF", at::zeros({1})}});
             }),
             Contains("not UTF-8"));
  CHECK_THAT(test::failure([&] {
               write_safetensors(folder / "x", {{"__metadata__", at::zeros({1})}});
             }),
             Contains("reserved"));
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
  write_safetensors(folder / "x", good);
  CHECK(read_safetensors(folder / "x").size() == 1);
}

TEST_CASE("No damage to a safetensors file does more than fail", "[unit]") {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  write_safetensors(path, example(), {{"seed", "7"}});
  const auto bytes = test::read_bytes(path);
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    test::write_bytes(path, test::mutated(bytes, random));
    const auto error = test::error_of([&] {
      for (const auto& [name, tensor] : read_safetensors(path)) (void)tensor.to(at::kFloat).sum();
    });
    refused += error ? 1 : 0;
    if (error) CHECK(error->code() == ErrorCode::BadModel);
  }
  CHECK(refused > 1000);
}

}  // namespace GLINT_TEST_FILE
