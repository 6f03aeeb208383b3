// How far can weights shrink? The model in every scheme, and how surprised each is by a text.
//
// Build: g++ -std=c++17 -O2 -march=native -I include examples/09_quantise.cpp -o quantise -pthread
// Run:   ./quantise "$(tools/get_model)" README.md > quantise.svg
// Or, without a download: ./quantise tests/data/kjv-small.gguf > quantise.svg
#include <gemma/gemma.hpp>
#include <gemma/generate/quantize.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

/// exp of the mean surprise at each token: 1 is a prophet, V a model that knows nothing.
double perplexity(const gemma::Model& model, const std::string& text) {
  gemma::EncodeOptions with_bos;
  with_bos.bos = model.tokenizer().add_bos();
  std::vector<gemma::TokenId> ids = model.tokenizer().encode(text, with_bos);
  ids.resize(std::min<std::size_t>(ids.size(), 512));
  gemma::Session session(model);
  double surprise = 0.0;
  gemma::Outputs outputs;
  outputs.logit_rows = ids.size();
  outputs.logits = [&](std::size_t t, gemma::Span<float> logits) {
    if (t + 1 == ids.size()) return;
    const float largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0.0;
    for (const float logit : logits) sum += std::exp(double{logit} - double{largest});
    surprise += double{largest} + std::log(sum) - double{logits[static_cast<std::size_t>(ids[t + 1])]};
  };
  const gemma::Status done = session.try_evaluate({ids.data(), ids.size()}, outputs);
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return std::exp(surprise / static_cast<double>(ids.size() - 1));
}

int main(int argc, char** argv) {
  const gemma::Model model = gemma::load(argc > 1 ? argv[1] : "tests/data/kjv-small.gguf");
  std::string text = "And God said, Let there be light: and there was light.\n"
                     "And God saw the light, that it was good: and God divided the light from the darkness.\n";
  if (argc > 2) {
    std::ostringstream content;
    content << std::ifstream(argv[2]).rdbuf();
    text = content.str();
  }

  struct Point {
    const char* name;
    double megabytes, perplexity;
  };
  std::vector<Point> points;
  std::fprintf(stderr, "scheme       MB   perplexity\n");
  for (const gemma::QuantizeScheme& scheme : gemma::quantize_schemes()) {
    const std::string path = std::string("quantised-") + scheme.name + ".gguf";
    gemma::QuantizeOptions options;
    options.pure = true;  // every matrix in this format
    const auto report = gemma::quantize(model, scheme, path, options);
    if (!report) {
      std::fprintf(stderr, "%-8s  %s\n", scheme.name, report.error().message().c_str());
      continue;
    }
    points.push_back({scheme.name, static_cast<double>(report->bytes_after) / 1e6,
                      perplexity(gemma::load(path), text)});
    std::fprintf(stderr, "%-8s  %6.2f   %.4f\n", scheme.name, points.back().megabytes, points.back().perplexity);
    std::remove(path.c_str());
  }

  double most = 0.0, worst = 0.0, best = 1e30;
  for (const Point& p : points) {
    most = std::max(most, p.megabytes);
    worst = std::max(worst, p.perplexity);
    best = std::min(best, p.perplexity);
  }
  std::printf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"400\" font-family=\"sans-serif\""
              " font-size=\"12\">\n<rect width=\"640\" height=\"400\" fill=\"white\"/>\n"
              "<path d=\"M60 20V350H620\" fill=\"none\" stroke=\"black\"/>\n"
              "<text x=\"340\" y=\"385\">MB of weights</text>\n<text x=\"8\" y=\"16\">perplexity</text>\n"
              "<text x=\"8\" y=\"335\">%.3f</text>\n<text x=\"8\" y=\"44\">%.3f</text>\n", best, worst);
  for (const Point& p : points) {
    const double x = 60.0 + 500.0 * p.megabytes / most;
    const double y = 330.0 - 290.0 * (p.perplexity - best) / std::max(worst - best, 1e-9);
    std::printf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"#c03020\"/><text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x, y,
                x + 6.0, y - 6.0, p.name);
  }
  std::printf("</svg>\n");
}
