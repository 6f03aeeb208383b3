// What a file is, told by its bytes and never by its name.
#ifndef GEMMA_FORMATS_FILE_KIND_HPP_
#define GEMMA_FORMATS_FILE_KIND_HPP_

#include <string>

#include "gemma/config.hpp"
#include "gemma/base/span.hpp"

GEMMA_NAMESPACE_BEGIN

/// Kinds of files that hold models.
enum class FileKind {
  unknown,      ///< none of the following
  gguf,         ///< llama.cpp's
  safetensors,  ///< Hugging Face's
  tflite,       ///< a TFLite flatbuffer: MediaPipe's weights, or a graph
  task,         ///< a zip of MediaPipe, with zero bytes before it or not
  litertlm      ///< LiteRT-LM's
};

/// Looks at the beginning, and at the end of what begins as a zip.
FileKind file_kind(Bytes file);

/// What a file of no known kind seems to be, for messages: "it begins with '<html>': a web page, …".
std::string describe_start(Bytes file);

GEMMA_NAMESPACE_END

#if !defined(GEMMA_DECLARATIONS_ONLY)
#include "gemma/formats/impl/file_kind-inl.hpp"
#endif

#endif  // GEMMA_FORMATS_FILE_KIND_HPP_
