// Linked into programs under the address sanitizer.
#include <dlfcn.h>

extern "C" {

/// Open MPI unloads its plugins in the end; what they leaked would then belong to no library that could be named below.
int dlclose(void*) { return 0; }

/// Libraries that keep some memory until the process ends: Open MPI with its plugins and runtime (PMIx, hwloc, libevent), and what it
/// loads. vasprintf is called by them alone; libc's frames cannot be walked fast.
char const* __lsan_default_suppressions();
char const* __lsan_default_suppressions() {
  return "leak:libopen-rte\n"
         "leak:libopen-pal\n"
         "leak:libmpi.so\n"
         "leak:openmpi/lib/openmpi3/mca_\n"
         "leak:libpmix\n"
         "leak:libhwloc\n"
         "leak:libevent\n"
         "leak:__vasprintf_internal\n";
}

/// Libraries preloaded by tests come before the sanitizer's own; memory that cannot be had must be refused as elsewhere.
char const* __asan_default_options();
char const* __asan_default_options() { return "verify_asan_link_order=0:allocator_may_return_null=1"; }

char const* __lsan_default_options();
char const* __lsan_default_options() { return "print_suppressions=0"; }

char const* __ubsan_default_options();
char const* __ubsan_default_options() { return "print_stacktrace=1"; }
}
