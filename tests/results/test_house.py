"""The house stands: includes, circles and file lengths, and the check itself finds what is put in its way."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import check_house  # noqa: E402


def house(tmp_path: pathlib.Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return check_house.check(tmp_path)


def test_house_stands() -> None:
    assert check_house.sources(ROOT / "src")
    assert check_house.sources(ROOT / "kernels")
    assert check_house.check(ROOT) == []


def test_down_is_allowed(tmp_path: pathlib.Path) -> None:
    files = {
        "src/app/a.cpp": '#include <mpi.h>\n#include "results/r.hpp"\n#include "kernels/core/types.hpp"\n',
        "src/results/r.hpp": '#include "results/s.hpp"\n',
        "kernels/core/types.hpp": "#include <vector>\n",
    }
    assert house(tmp_path, files) == []


def test_up_is_found(tmp_path: pathlib.Path) -> None:
    (error,) = house(tmp_path, {"src/config/c.hpp": '#pragma once\n#include "plan/p.hpp"\n'})
    assert error.startswith("src/config/c.hpp:2: config may not include plan/p.hpp")
    (error,) = house(tmp_path / "two", {"src/comm/c.cpp": '  #  include  "study/m.hpp"\n'})
    assert "comm may not include study/m.hpp" in error


def test_commands_do_not_know_one_another(tmp_path: pathlib.Path) -> None:
    (error,) = house(tmp_path, {"src/attend/a.cpp": '#include "bench/plan.hpp"\n'})
    assert "attend may not include bench/plan.hpp" in error


def test_missing_kernel_header_is_found(tmp_path: pathlib.Path) -> None:
    (error,) = house(tmp_path, {"src/row/r.cpp": '#include "kernels/core/gone.hpp"\n'})
    assert "kernels/core/gone.hpp is no header of kernels/" in error


def test_circle_is_found(tmp_path: pathlib.Path) -> None:
    files = {
        "src/comm/a.hpp": '#include "comm/b.hpp"\n',
        "src/comm/b.hpp": '#include "comm/c.hpp"\n',
        "src/comm/c.hpp": '#include "comm/a.hpp"\n',
    }
    assert house(tmp_path, files) == ["includes run in a circle: comm/a.hpp -> comm/b.hpp -> comm/c.hpp -> comm/a.hpp"]


def test_circle_of_folders_is_found(tmp_path: pathlib.Path) -> None:
    files = {
        "src/comm/a.hpp": '#include "comm/merge/b.hpp"\n',
        "src/comm/merge/b.hpp": '#include "kernels/core/k.hpp"\n',
        "src/comm/merge/c.cpp": '#include "comm/d.hpp"\n',
        "kernels/core/k.hpp": "#include <vector>\n",
    }
    assert house(tmp_path, files) == ["includes run in a circle: comm -> comm/merge -> comm"]


def test_kernels_stand_alone(tmp_path: pathlib.Path) -> None:
    for name in ("mpi.h", "hdf5.h", "iostream"):
        (error,) = house(tmp_path / name, {"kernels/core/types.hpp": f"#include <{name}>\n"})
        assert f"kernels/ may not include {name}" in error
    (error,) = house(tmp_path, {"kernels/core/types.hpp": '#include "../../src/comm/communicator.hpp"\n'})
    assert "may not include src/comm/communicator.hpp of src/" in error
    (error,) = house(tmp_path / "gone", {"kernels/core/types.hpp": '#include "comm/communicator.hpp"\n'})
    assert "is no header of kernels/" in error


def test_unknown_room_and_long_file(tmp_path: pathlib.Path) -> None:
    (error,) = house(tmp_path, {"src/util/u.hpp": "\n"})
    assert "util/ is no room" in error
    (error,) = house(tmp_path / "long", {"src/app/main.cpp": "\n" * 421})
    assert error == "src/app/main.cpp: 421 lines, over 420"
