# Sourced by scripts that need PyTorch of PyPI on a machine without a GPU, in an environment on top of build/venv.

# make_torch_venv ENVIRONMENT WORK FILE...: a new one. FILE holds requirements, installed without dependencies: PyTorch's own are
# gigabytes of CUDA libraries. What is left over of the way lies in WORK.
make_torch_venv() {
  local environment=$1 work=$2 packages file
  shift 2
  rm -rf "$environment"
  build/venv/bin/python -m venv "$environment" || return 1
  for file; do
    "$environment/bin/python" -m pip install --disable-pip-version-check --no-cache-dir -q --no-deps -r "$file" || return 1
  done
  packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || return 1
  build/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$packages/build_venv.pth" || return 1
  # Symbols of CUDA's libraries are then looked for when they are called, which they never are.
  echo 'import os, sys; sys.setdlopenflags(os.RTLD_LAZY)' >"$packages/lazy_symbols.pth"
  make_named_libraries "$packages" "$work/named.c"
}

# make_named_libraries SITE_PACKAGES SOURCE: PyTorch's CPU code sits in one package with its CUDA code, whose libraries the loader
# wants to see although nothing calls them here. Libraries of those names are made, which hold no more than the few symbols that
# a lazy loader resolves at once, and stop the process if they are ever called.
make_named_libraries() {
  local libraries=$1/torch/lib source=$2 name
  {
    echo '#include <stdlib.h>'
    for name in "$libraries"/*.so; do readelf -rW "$name"; done |
      awk '$3 ~ /(GLOB_DAT|_64|ABS64)$/ && $4 ~ /^0+$/ { sub("@.*", "", $5); print $5 }' |
      grep -E '^(cu[A-Z]|cupti|cudnn|cublas|cusparse|cufft|cusolver|nccl|nvrtc|nvshmem)' | sort -u |
      sed 's/.*/void &(void) { abort(); }/'
  } >"$source"
  for name in "$libraries"/*.so; do readelf -dW "$name"; done | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u |
    grep -E '^lib(cu|nccl|nv)' | while read -r name; do
      [ -n "$(find "$1/nvidia" -name "$name")" ] || gcc -shared -fPIC -Wl,-soname,"$name" -o "$libraries/$name" "$source" || return 1
    done
}
