# A Spack repository beside the sources, for Spack 1.0 or later:
#
#     spack repo add jobs/setup/spack/spack_repo/asymptop
#     spack install asymptop
#
# It builds the main branch of the clone that it lies in; `spack develop --path . asymptop@main` its files as they are.
from pathlib import Path

from spack_repo.builtin.build_systems.cmake import CMakePackage
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import *


class Asymptop(CMakePackage, CudaPackage):
    """Benchmark suite for sparse attention at very long contexts: exact and top-k attention over sequence shards on MPI
    ranks, and what it says of the asymptotic claims that are made for it."""

    git = Path(__file__).resolve().parents[7].as_uri()

    license("BSD-3-Clause")

    version("main", branch="main")

    variant("openmp", default=True, description="Threads of a rank, by the OpenMP backend of Kokkos")
    variant("native", default=True, description="Compile for the instruction set of the machine that builds")
    variant("adiak", default=False, description="Give Adiak options, provenance and figures of merit of each run")
    variant("caliper", default=False, description="Give Caliper the regions of Kokkos Tools")
    variant(
        "cpus",
        values=any_combination_of("x86-64", "x86-64-v3", "x86-64-v4"),
        description="Instead: a program for each of these levels, of which each rank takes the best that its CPU has",
    )
    variant("tests", default=False, description="Build the tests of the C++ code")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.20:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    generator("ninja")

    depends_on("kokkos@3.4.00: +serial")
    depends_on("kokkos +openmp", when="+openmp")
    depends_on("mpi")
    depends_on("hdf5@1.10: +mpi +hl")
    depends_on("openblas threads=openmp", when="+openmp")
    depends_on("openblas", when="~openmp")
    depends_on("boost@1.74: +program_options")
    depends_on("openssl")
    depends_on("muparser")
    depends_on("random123")
    depends_on("nlohmann-json")
    depends_on("googletest", when="+tests")
    depends_on("adiak@0.4: +mpi", when="+adiak")
    depends_on("caliper@2.11: +mpi", when="+caliper")
    depends_on("caliper +adiak", when="+adiak +caliper")
    # Kernels of its own for compute capability 9.0, beside those of any Kokkos.
    depends_on("cuda@12:", when="+cuda")
    for arch in CudaPackage.cuda_arch_values:
        if arch not in ("90", "90a"):
            conflicts(f"cuda_arch={arch}", when="+cuda", msg="the device kernels are for compute capability 9.0")

    requires("%gcc@12:", "%clang@14:", policy="one_of", msg="C++20")

    def cmake_args(self):
        args = [
            self.define_from_variant("ASYMPTOP_NATIVE", "native"),
            self.define_from_variant("ASYMPTOP_ADIAK", "adiak"),
            self.define_from_variant("ASYMPTOP_CALIPER", "caliper"),
            self.define_from_variant("ASYMPTOP_TESTS", "tests"),
            self.define_from_variant("ASYMPTOP_DEVICE", "cuda"),
            self.define("Kokkos_ROOT", self.spec["kokkos"].prefix),
        ]
        if not self.spec.satisfies("cpus=none"):
            args.append(self.define_from_variant("ASYMPTOP_CPUS", "cpus"))
        return args
