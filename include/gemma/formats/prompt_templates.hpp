// Turn formats as texts, as the files of MediaPipe and LiteRT-LM have them.
#ifndef GEMMA_FORMATS_PROMPT_TEMPLATES_HPP_
#define GEMMA_FORMATS_PROMPT_TEMPLATES_HPP_

#include <string>

#include "gemma/config.hpp"

GEMMA_NAMESPACE_BEGIN

/// What stands before and after the text of a role's turns. Control tokens in it are recognised.
struct PromptTemplate {
  std::string prefix;  ///< "<start_of_turn>user\n"
  std::string suffix;  ///< "<end_of_turn>\n"

  bool empty() const { return prefix.empty() && suffix.empty(); }  ///< nothing stands there
};

/// A turn format of one's own, as MediaPipe's prompt templates are: nothing is added to it but BOS,
/// and no white space is dropped.
struct PromptTemplates {
  PromptTemplate system;  ///< of Role::system
  PromptTemplate user;    ///< of Role::user
  PromptTemplate model;   ///< of Role::model; its prefix begins an answer
};

GEMMA_NAMESPACE_END

#endif  // GEMMA_FORMATS_PROMPT_TEMPLATES_HPP_
