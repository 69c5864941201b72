// A main alone: the tests, which have their own, link all the rest.
#include "app/program.hpp"

int main(int argc, char** argv) { return asymptop::run_program(argc, argv); }
