-- Asymptop as a module of Lmod: copy to MODULEPATH/asymptop/0.1.0.lua and name the clone, built by jobs/setup, in `root`.
local root = "/path/to/asymptop"

help([[Benchmark suite for sparse attention at very long contexts: `asymptop --help`, `python3 -m asymptop --help`.]])
whatis("Name: asymptop")
whatis("Version: 0.1.0")
whatis("Description: exact and top-k attention over sequence shards, measured and held against asymptotic claims")

-- What it was built with, by the names that this cluster has for them:
-- depends_on("gcc/12", "openmpi/4.1", "hdf5/1.12-parallel", "openblas")

if not isDir(pathJoin(root, "build", "release")) then
  LmodError(root .. " has no build/release: jobs/setup/build.sh makes it")
end
prepend_path("PATH", pathJoin(root, "build", "release"))
prepend_path("PATH", pathJoin(root, "build", "venv", "bin"))
prepend_path("PYTHONPATH", pathJoin(root, "analysis"))
setenv("ASYMPTOP_ROOT", root)
