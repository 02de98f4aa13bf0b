//===- SafetensorsTest.cpp --------------------------------------*- C++ -*-===//
// Round trip, and one refusal per way a file can be wrong.
//===----------------------------------------------------------------------===//
#include "runtime/core/Safetensors.h"
#include "runtime/core/Error.h"
#include "tests/unit/runtime/TestFiles.h"

#include <cstring>
#include <gtest/gtest.h>

using namespace tidegate::runtime;
using namespace tidegate::test;

namespace {

class SafetensorsTest : public testing::Test {
protected:
  /// What opening a file of this header and data says.
  std::string complaint(const std::string &header, size_t dataBytes) {
    uint64_t size = header.size();
    std::string text(8, '\0');
    std::memcpy(text.data(), &size, 8);
    return complaintOfFile(text + header + std::string(dataBytes, '\1'));
  }
  std::string complaintOfFile(const std::string &content) {
    writeText(scratch.path("t.safetensors"), content);
    return messageOf<RuntimeError>([&] { SafetensorsFile(scratch.path("t.safetensors")); });
  }
  void expectComplaint(const std::string &message, const std::string &part) {
    EXPECT_NE(message.find("t.safetensors"), std::string::npos) << message;
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }

  ScratchDirectory scratch;
};

} // namespace

TEST_F(SafetensorsTest, RoundTripKeepsEveryBit) {
  auto a = HostTensor::of<float>({2, 2}, std::vector<float>{1, -2, 3.5f, 1e-40f});
  auto b = HostTensor::of<int64_t>({3}, std::vector<int64_t>{1, -1, int64_t(1) << 60});
  HostTensor scalar = HostTensor::of<double>({}, std::vector<double>{0.1}), empty(Dtype::F32, {0, 4});
  NamedTensor all[] = {named("layer.a", a), named("ids", b), named("loss", scalar), named("none", empty)};
  writeSafetensorsFile(scratch.path("x.safetensors"), all, {{"format", "tidegate"}});

  SafetensorsFile file(scratch.path("x.safetensors"));
  EXPECT_EQ(file.metadata().at("format"), "tidegate");
  EXPECT_EQ(file.entries().size(), 4u);
  EXPECT_EQ(file.tensor("layer.a").shape(), (std::vector<int64_t>{2, 2}));
  EXPECT_TRUE(std::ranges::equal(file.tensor("layer.a").bytes(), a.bytes()));
  EXPECT_TRUE(std::ranges::equal(file.tensor("ids").bytes(), b.bytes()));
  EXPECT_EQ(file.tensor("loss").as<double>()[0], 0.1);
  EXPECT_EQ(file.tensor("none").elements(), 0);
  EXPECT_EQ(listing(scratch.path()), std::set<std::string>{"x.safetensors"});
}

TEST_F(SafetensorsTest, ReadIntoChecksTheShapeAndConverts) {
  auto a = HostTensor::of<float>({2}, std::vector<float>{1, 2});
  NamedTensor all[] = {named("layer.weight", a)};
  writeSafetensorsFile(scratch.path("t.safetensors"), all);
  SafetensorsFile file(scratch.path("t.safetensors"));
  HostTensor target(Dtype::F64, {2});
  file.readInto("layer.weight", target.shape(), target.view());
  EXPECT_EQ(target.as<double>()[1], 2);
  int64_t other[] = {2, 1};
  expectComplaint(messageOf<RuntimeError>([&] { file.readInto("layer.weight", other, target.view()); }),
                  "expected tensor 'layer.weight' of shape [2, 1], but it is [2]");
  expectComplaint(messageOf<RuntimeError>([&] { file.tensor("layer.wieght"); }), "did you mean 'layer.weight'?");
}

TEST_F(SafetensorsTest, RefusesShortFiles) {
  expectComplaint(complaintOfFile(""), "expected at least 8 bytes, but it has 0");
  expectComplaint(complaintOfFile(std::string("\x40\0\0\0\0\0\0\0{}", 10)), "claims 64 bytes, but 2 follow");
  expectComplaint(complaintOfFile(std::string(16, '\xff')), "claims 18446744073709551615 bytes");
}

TEST_F(SafetensorsTest, RefusesHeadersThatAreNotTheFormat) {
  expectComplaint(complaint("{\"a\":", 0), "not JSON");
  expectComplaint(complaint("[1]", 0), "expected a JSON object");
  expectComplaint(complaint(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "'a' lacks dtype, shape or data_offsets");
  expectComplaint(complaint(R"({"a":{"dtype":"U4","shape":[1],"data_offsets":[0,4]}})", 4), "dtype U4");
  expectComplaint(complaint(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4), "non-negative sizes");
  expectComplaint(complaint(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4.5]}})", 4), "data_offsets");
  expectComplaint(complaint(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                            R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8), "'a' occurs twice");
}

TEST_F(SafetensorsTest, RefusesOffsetsThatDoNotTileTheData) {
  auto two = [](int a0, int a1, int b0, int b1) {
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[)" + std::to_string(a0) + "," + std::to_string(a1) +
           R"(]},"b":{"dtype":"F32","shape":[2],"data_offsets":[)" + std::to_string(b0) + "," + std::to_string(b1) +
           "]}}";
  };
  EXPECT_EQ(complaint(two(0, 8, 8, 16), 16), "");
  expectComplaint(complaint(two(0, 8, 8, 16), 12), "tensor 'b' ends at data byte 16, but the file has only 12");
  expectComplaint(complaint(two(0, 8, 4, 12), 12), "tensor 'b' begins at data byte 4, inside the one before");
  expectComplaint(complaint(two(0, 8, 12, 20), 20), "leaving a hole");
  expectComplaint(complaint(two(0, 8, 8, 16), 20), "has 20 bytes, but its tensors end at 16");
  expectComplaint(complaint(two(0, 8, 16, 8), 16), "before it begins");
  expectComplaint(complaint(two(0, 4, 4, 12), 12), "tensor 'a' of shape [2] needs 8 bytes, but has 4");
}

TEST_F(SafetensorsTest, MissingFileAndDirectoryAreNamed) {
  EXPECT_NE(messageOf<RuntimeError>([&] { SafetensorsFile(scratch.path("no")); }).find("No such file"),
            std::string::npos);
  EXPECT_NE(messageOf<RuntimeError>([&] { SafetensorsFile(scratch.path()); }).find("is a directory"),
            std::string::npos);
}
