// Runs a fuzz target without libFuzzer: every file and every file of every folder that is given,
// then seeded random inputs, the same on each machine. Built with libFuzzer, leave this file out.
//
//   fuzz_<name> [--runs N] [--seed N] [--length N] [--save FILE] [file or folder ...]
//
// --save writes the last input to FILE before it is run, so that a crash leaves it behind.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Input = std::vector<uint8_t>;

std::string save_to;

void runInput(const Input& input) {
  if (!save_to.empty()) {
    std::ofstream out(save_to, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(input.data()),
              static_cast<std::streamsize>(input.size()));
  }
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

bool runFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    fprintf(stderr, "cannot read %s\n", path.c_str());
    return false;
  }
  Input input{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  runInput(input);
  return true;
}

// Files of a folder in the order of their names.
size_t runPath(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> files;
  if (std::filesystem::is_directory(path)) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(path);
  }
  for (const auto& file : files) {
    if (!runFile(file)) exit(2);
  }
  return files.size();
}

uint64_t nextRandom(uint64_t& s) {
  s += 0x9e3779b97f4a7c15u;
  uint64_t z = s;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Lengths from empty to `longest`, short ones more often.
Input randomInput(uint64_t seed, size_t longest) {
  uint64_t s = seed;
  size_t bound = std::max<size_t>(longest >> (nextRandom(s) % 8), 1);
  Input input(nextRandom(s) % (bound + 1));
  for (uint8_t& b : input) b = static_cast<uint8_t>(nextRandom(s) >> 56);
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 300, seed = 1;
  size_t longest = 8192, files = 0;
  std::vector<std::string> paths;
  for (int i = 1; i < argc; i++) {
    bool more = i + 1 < argc;
    if (more && strcmp(argv[i], "--runs") == 0) {
      runs = strtoull(argv[++i], nullptr, 0);
    } else if (more && strcmp(argv[i], "--seed") == 0) {
      seed = strtoull(argv[++i], nullptr, 0);
    } else if (more && strcmp(argv[i], "--length") == 0) {
      longest = strtoull(argv[++i], nullptr, 0);
    } else if (more && strcmp(argv[i], "--save") == 0) {
      save_to = argv[++i];
    } else {
      paths.emplace_back(argv[i]);
    }
  }
  for (const std::string& path : paths) files += runPath(path);
  for (uint64_t i = 0; i < runs; i++) runInput(randomInput((seed << 32) + i, longest));
  printf("%zu files, %llu random inputs, seed %llu\n", files, static_cast<unsigned long long>(runs),
         static_cast<unsigned long long>(seed));
  return 0;
}
