// gemma.hpp: inference of Google's Gemma models. The one include; see README.md to use it and
// include/gemma/README.md to find your way. The rooms, in the order data flows through them:
#ifndef GEMMA_GEMMA_HPP_
#define GEMMA_GEMMA_HPP_

#include "gemma/config.hpp"                 // macros, version, namespace
#include "gemma/base/error.hpp"             // errors as values
#include "gemma/formats/gguf.hpp"           // file → tensors
#include "gemma/text/tokenizer.hpp"         // text → ids → text
#include "gemma/text/chat.hpp"              // turns of a conversation → ids
#include "gemma/simd/kernels.hpp"           // fast arithmetic
#include "gemma/backend/cpu.hpp"            // the model, to run
#include "gemma/generate/model.hpp"         // load()
#include "gemma/generate/session.hpp"       // generate()
#include "gemma/generate/generation.hpp"    // generate_async()
#include "gemma/build_info.hpp"
#if !defined(GEMMA_DECLARATIONS_ONLY)       // bodies throughout: include these where you need them
#include "gemma/quant/registry.hpp"         // number formats
#include "gemma/model/reference.hpp"        // the model, to read
#endif

#endif  // GEMMA_GEMMA_HPP_
