// Search by meaning: each paragraph of the texts in a folder becomes a vector, and so does the question.
//
// Made for EmbeddingGemma; any other Gemma gives vectors, too, if poorer ones.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/11_search.cpp -o search -pthread
// Run:   ./search "$(tools/get_model)" examples "how is the next word chosen?"
// Or, without a download: ./search tests/data/kjv-small.gguf examples "light and darkness"
#include <gemma/gemma.hpp>
#include <gemma/model/reference.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

struct Paragraph {
  std::string file;
  std::string text;
  float likeness = 0.0f;
};

/// Runs of lines between empty ones, of all files of a folder.
std::vector<Paragraph> read_folder(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<Paragraph> paragraphs;
  for (const auto& file : files) {
    std::ifstream in(file);
    std::string line, text;
    while (true) {
      const bool more = static_cast<bool>(std::getline(in, line));
      if (more && !line.empty()) {
        text += line + '\n';
        continue;
      }
      if (text.size() > 40) paragraphs.push_back({file.filename().string(), text, 0.0f});
      text.clear();
      if (!more) break;
    }
  }
  return paragraphs;
}

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  const std::string folder = argc > 2 ? argv[2] : "examples";
  const std::string question = argc > 3 ? argv[3] : "light and darkness";
  std::vector<Paragraph> paragraphs = read_folder(folder);
  if (paragraphs.empty()) return std::fprintf(stderr, "%s: no text in it\n", folder.c_str()), 1;

  gemma::Session session(model);
  const std::vector<float> wanted = session.embed(question);
  for (Paragraph& p : paragraphs) {
    // Both vectors have length 1: their product is the cosine of the angle between them.
    const std::vector<float> vector = session.embed(p.text.substr(0, 600));
    p.likeness = gemma::reference::dot(wanted.data(), vector.data(), vector.size());
  }
  std::sort(paragraphs.begin(), paragraphs.end(),
            [](const Paragraph& a, const Paragraph& b) { return a.likeness > b.likeness; });

  std::printf("\"%s\" in %zu paragraphs\n", question.c_str(), paragraphs.size());
  for (std::size_t i = 0; i < std::min<std::size_t>(paragraphs.size(), 3); ++i) {
    std::printf("\n%.3f  %s\n%s", double{paragraphs[i].likeness}, paragraphs[i].file.c_str(),
                paragraphs[i].text.substr(0, 300).c_str());
  }
}
