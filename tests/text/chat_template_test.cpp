#include "gemma/text/chat_template.hpp"

#include <doctest/doctest.h>

#include <string>

namespace {

using gemma::ChatFormat;
using gemma::unknown_template_reason;

// As the published files write them, in other words.
const std::string kFirst =
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{{ raise_exception(\"Roles must take turns here\") }}"
    "{{ '<start_of_turn>' + (m['role'] if m['role'] != 'assistant' else 'model') + '\\n' }}"
    "{{ m['content'] | trim }}{{ '<end_of_turn>\\n' }}{% endfor %}";
const std::string kThird =
    "{#- A comment of several words, with <|im_start|>. -#}{{ bos_token }}{%- for m in messages -%}"
    "{{ '<start_of_turn>' + role }}{{ '<start_of_image>' if m['type'] == 'image' }}"
    "{{ m['content'] | trim }}{{ '<end_of_turn>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{'<start_of_turn>model\n'}}{%- endif -%}";
const std::string kFourth =
    "{{ bos_token }}{{- '<|turn>system\\n' -}}<|think|>description:<|\"|>{{ x }}<|\"|>,{"
    "{{- '<|tool_call>call:' + f + '{' -}}<|turn>model\n{{ m | trim }}{{- '<turn|>\\n' -}}"
    "{{- '<|channel>thought\\n<channel|>' -}}";

std::string with(const std::string& text, const std::string& more) { return text + more; }

}  // namespace

TEST_CASE("each family's own template is known, and only to that family") {
  const struct {
    const std::string& jinja;
    ChatFormat format;
  } kOwn[] = {{kFirst, ChatFormat::gemma1}, {kThird, ChatFormat::gemma3},
              {kFourth, ChatFormat::gemma4}};
  for (const auto& own : kOwn) {
    for (const ChatFormat format : {ChatFormat::gemma1, ChatFormat::gemma3, ChatFormat::gemma4}) {
      CAPTURE(own.jinja);
      CHECK(unknown_template_reason(own.jinja, format).empty() == (format == own.format));
    }
  }
}

TEST_CASE("a template of another kind of model is named by what it writes") {
  CHECK(unknown_template_reason("{{ '<|im_start|>user' }}", ChatFormat::gemma3) ==
        "it writes '<|im_start|>'");
  CHECK(unknown_template_reason("<|im_start|>user", ChatFormat::gemma3) ==
        "it writes '<|im_start|>'");
  CHECK(unknown_template_reason("{{ my own }}", ChatFormat::gemma3) ==
        "it does not write '<start_of_turn>'");
  CHECK(unknown_template_reason("<start_of_turn>x<end_of_turn>", ChatFormat::gemma3) ==
        "it does not write 'model'");
  CHECK(unknown_template_reason(with(kThird, "{{ '<tool_call>' }}"), ChatFormat::gemma3) ==
        "it writes '<tool_call>'");
}

TEST_CASE("a template with a system prompt of its own is not known") {
  CHECK(unknown_template_reason(with(kThird, "{% set s = 'You are a pirate, always.' %}"),
                                ChatFormat::gemma3) == "it writes 'You are a pirate, always.'");
  CHECK(unknown_template_reason(with(kFourth, "\nAnswer in verse."), ChatFormat::gemma4) ==
        "it writes 'Answer in verse.'");
  CHECK(unknown_template_reason(with(kThird, "{# You are a pirate. #}"), ChatFormat::gemma3).empty());
}

TEST_CASE("text that is no template, or a broken one, is looked through to its end") {
  for (const std::string broken : {"", "{", "{{", "{{ '", "{% \"\\", "{#", "{{ 'a' }", "<", "<|", "}}"}) {
    CHECK_FALSE(unknown_template_reason(broken, ChatFormat::gemma3).empty());
    CHECK(unknown_template_reason(with(kThird, broken), ChatFormat::gemma3).empty());
  }
}
