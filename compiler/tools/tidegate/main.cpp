//===- main.cpp - The tidegate command-line tool ----------------*- C++ -*-===//
#include "compiler/tools/tidegate/Commands.h"

int main(int argc, char **argv) { return tidegate::tool::runProcess(std::vector<std::string>(argv + 1, argv + argc)); }
