#!/usr/bin/env bash
# muParser 2.3.3 (Debian 12, libmuparser): its optimiser, on unless switched off, reassociates floating-point arithmetic, so that an expression
# is not what the same expression is in C, C++ or Python with the same doubles: n + x - n becomes x, with digits that n + x cannot
# hold. Values from two programs that read one formula then differ in their last digits, or, where terms cancel, in most. Parser.EnableOptimizer(false) gives IEEE's order. Asymptop reads its laws so (src/config/law.cpp).
#
# Compiles a few lines against the package and fails where the values are not as described.
set -euo pipefail
dpkg-query -W -f='${Status}' libmuparser-dev 2>/dev/null | grep -q 'install ok installed' ||
  apt-get install -y -q --no-install-recommends libmuparser-dev g++ >/dev/null
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >laws.cpp <<'CPP'
#include <muParser.h>

#include <cstdio>

int main() {
  volatile double n = 281474976710656.0, x = 4.2e12;
  struct {
    char const* text;
    double in_order;
  } const laws[] = {{"n+4.2e12/2.2-n", n + x / 2.2 - n}, {"n+0.1-n", n + 0.1 - n}};
  int differ = 0, wrong = 0;
  for (auto const& law : laws) {
    double value[2];
    for (int optimised = 0; optimised < 2; ++optimised) {
      mu::Parser parser;
      double variable = n;
      parser.EnableOptimizer(optimised == 1);
      parser.DefineVar("n", &variable);
      parser.SetExpr(law.text);
      value[optimised] = parser.Eval();
    }
    std::printf("%-16s at n = 2^48: in order %.17g, optimiser off %.17g, on %.17g\n", law.text, law.in_order, value[0], value[1]);
    differ += value[1] != law.in_order;
    wrong += value[0] != law.in_order;
  }
  return differ > 0 && wrong == 0 ? 0 : 1;
}
CPP
g++ -O1 -o laws laws.cpp -lmuparser
dpkg-query -W -f='${Package} ${Version}\n' libmuparser-dev
./laws || { echo 'not as described'; exit 1; }
