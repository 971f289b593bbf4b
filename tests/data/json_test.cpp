#include "data/json.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>

#include "tensor/error.h"

namespace r1 {
namespace {

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  return "no error";
}

std::string refusal(std::string_view text) {
  return message_of([&] { json::parse(text, "x.json"); });
}

TEST(Json, ParsesEveryKindOfValue) {
  const auto v = json::parse(
      R"( {"a": [1, -2, 2.5, 1e3, true, false, null, "\u00e9\ud83d\ude00\n"], "b": {}, "": []} )",
      "x");
  EXPECT_EQ(v["a"][0].get<int>(), 1);
  EXPECT_EQ(v["a"][1].get<int>(), -2);
  EXPECT_EQ(v["a"][2].get<double>(), 2.5);
  EXPECT_EQ(v["a"][3].get<double>(), 1000.0);
  EXPECT_EQ(v["a"][7].get<std::string>(), "é😀\n");
  EXPECT_TRUE(v["a"][6].is_null());
  EXPECT_TRUE(v["b"].is_object());
  EXPECT_EQ(v.size(), 3u);
  EXPECT_EQ(json::parse("18446744073709551615", "x").get<std::uint64_t>(), 18446744073709551615u);
  EXPECT_EQ(json::parse("-9223372036854775808", "x").get<std::int64_t>(),
            std::numeric_limits<std::int64_t>::min());
}

TEST(Json, OrderedKeepsTheOrderOfTheFile) {
  const std::string text = R"({"z":1,"a":{"y":[{"q":1,"b":2}],"c":3},"m":null})";
  EXPECT_EQ(json::parse_ordered(text, "x").dump(), text);
  EXPECT_EQ(json::parse(text, "x").dump(), R"({"a":{"c":3,"y":[{"b":2,"q":1}]},"m":null,"z":1})");
}

TEST(Json, NamesLineAndColumn) {
  EXPECT_EQ(refusal("{\n  \"a\": 1,\n  \"b\" 2\n}").substr(0, 26), "x.json: line 3, column 7: ");
  EXPECT_EQ(message_of([] { json::parse("[1,\n22]", "x", {.max_bytes = 3}); }),
            "x: 7 bytes of JSON, the limit is 3");
  EXPECT_EQ(refusal("[1,\n1e999]").substr(0, 26), "x.json: line 2, column 5: ");
  EXPECT_EQ(refusal("{\n  \"a\": 1,\n  \"a\": 2\n}"),
            "x.json: line 3, column 5: key 'a' occurs twice");
}

TEST(Json, RefusesWhatIsNotJson) {
  const char* const kBad[] = {"",
                              " ",
                              "{",
                              "[1,]",
                              "{\"a\":1,}",
                              "NaN",
                              "[Infinity]",
                              "[-Infinity]",
                              "{'a':1}",
                              "[01]",
                              "[1] x",
                              "[\"\xff\"]",
                              "[\"\xc0\x80\"]",
                              "[\"\xed\xa0\x80\"]",
                              "[\"\\ud800\"]",
                              "[\"\t\"]",
                              "[1e999]",
                              "// x\n1",
                              "tru",
                              "{\"a\":{\"b\":1,\"b\":1}}",
                              "\"abc"};
  for (const char* text : kBad) EXPECT_NE(refusal(text), "no error") << text;
  EXPECT_NE(refusal(std::string_view("{}\0{", 4)), "no error");
  EXPECT_NE(refusal(std::string_view("[1]\0", 4)), "no error");
}

TEST(Json, DuplicatesAreRefusedInBothTrees) {
  const std::string text = R"([{"a":1},{"a":1,"b":{"a":2,"c":3,"a":4}}])";
  EXPECT_EQ(refusal(text), "x.json: line 1, column 36: key 'a' occurs twice");
  EXPECT_EQ(message_of([&] { json::parse_ordered(text, "x.json"); }), refusal(text));
}

TEST(Json, DepthIsLimited) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(refusal(nested(64)), "no error");
  EXPECT_EQ(refusal(nested(65)), "x.json: line 1, column 65: nested deeper than 64 levels");
  EXPECT_EQ(refusal(std::string(1 << 20, '[')),
            "x.json: line 1, column 65: nested deeper than 64 levels");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_NE(refusal(objects), "no error");
}

TEST(Json, SizeIsLimited) {
  EXPECT_EQ(message_of([] { json::parse("[1,2,3]", "x", {.max_bytes = 6}); }),
            "x: 7 bytes of JSON, the limit is 6");
}

TEST(Json, HostileTextStaysOnOneLine) {
  EXPECT_NE(refusal("[\"a\x01\nb\"]"), "no error");
  const auto message = refusal("{\"a\\nb\":1,\"a\\nb\":2}");
  EXPECT_NE(message.find("'a?b'"), std::string::npos) << message;
}

TEST(Json, TypedGetters) {
  const auto v = json::parse(
      R"({"n":7,"x":2.5,"b":true,"s":"t","z":null,"big":18446744073709551615,"f":7.0})", "x");
  const std::string c = "config.json";
  EXPECT_EQ(json::get_int(v, "n", c), 7);
  EXPECT_EQ(json::get_int(v, "n", c, 7, 7), 7);
  EXPECT_EQ(json::get_number(v, "n", c), 7.0);
  EXPECT_EQ(json::get_number(v, "x", c), 2.5);
  EXPECT_TRUE(json::get_bool(v, "b", c));
  EXPECT_EQ(json::get_string(v, "s", c), "t");
  EXPECT_EQ(json::get_int_or(v, "z", 3, c), 3);
  EXPECT_EQ(json::get_int_or(v, "none", 3, c), 3);
  EXPECT_EQ(json::get_number_or(v, "none", 0.5, c), 0.5);
  EXPECT_FALSE(json::get_bool_or(v, "none", false, c));
  EXPECT_EQ(json::get_string_or(v, "none", "d", c), "d");

  EXPECT_EQ(message_of([&] { json::get_int(v, "s", c); }),
            "config.json: s: expected integer, got string");
  EXPECT_EQ(message_of([&] { json::get_int(v, "f", c); }),
            "config.json: f: expected integer, got number");
  EXPECT_EQ(message_of([&] { json::get_int(v, "none", c); }),
            "config.json: none: the key is missing");
  EXPECT_EQ(message_of([&] { json::get_int(v, "n", c, 8, 10); }),
            "config.json: n: 7 is outside 8 .. 10");
  EXPECT_EQ(message_of([&] { json::get_int(v, "n", c, 0, 6); }),
            "config.json: n: 7 is outside 0 .. 6");
  EXPECT_NE(message_of([&] { json::get_int(v, "big", c); }), "no error");
  EXPECT_EQ(message_of([&] { json::get_bool(v, "n", c); }),
            "config.json: n: expected boolean, got integer");
  EXPECT_EQ(message_of([&] { json::get_string(v, "z", c); }),
            "config.json: z: expected string, got null");
  EXPECT_EQ(message_of([&] { json::get_number_or(v, "b", 1, c); }),
            "config.json: b: expected number, got boolean");
  EXPECT_EQ(message_of([&] { json::get_int(json::Value(), "n", c); }),
            "config.json: n: expected an object around it, got null");
}

TEST(Json, DumpRefusesWhatNoReaderAccepts) {
  EXPECT_EQ(json::dump(json::parse(R"({"a":[1,2.5]})", "x"), "x"), R"({"a":[1,2.5]})");
  EXPECT_NE(message_of([] { json::dump(json::Value(std::nan("")), "m"); }), "no error");
  EXPECT_NE(message_of([] { json::dump(json::Value("\xff"), "m"); }), "no error");
}

TEST(Json, PrintableIsShortAndOneLine) {
  EXPECT_EQ(json::printable("a\nb\x7f"), "a?b?");
  EXPECT_EQ(json::printable("ok é"), "ok é");
  EXPECT_EQ(json::printable("a\xff"), "a?");
  EXPECT_EQ(json::printable("ééé", 3), "é...");
}

}  // namespace
}  // namespace r1
