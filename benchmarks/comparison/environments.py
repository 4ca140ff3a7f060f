"""The Python of a peer: an environment of its own in the cache folder, with pinned versions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

# GCC takes the shapes of AMX tiles for stores that nobody reads: llama.cpp would end with a
# segmentation fault on machines that have tiles.
KEEP_STORES = "-DCMAKE_CXX_FLAGS='-fno-tree-dse -fno-dse'"
TORCH = ("torch==2.13.0",)
# On its own: what it depends on would bring another torch, and with it CUDA.
TORCHVISION = ("--no-deps", "torchvision==0.28.0")


class EnvironmentFailed(Exception):  # noqa: N818
    """It could not be made; the text is the reason."""


@dataclass(frozen=True)
class Environment:
    """What has to be installed, in this order."""

    name: str
    steps: Sequence[Sequence[str]]
    """Arguments of pip install."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of the build."""

    def python(self, folder: Path) -> Path:
        """The interpreter of the environment, which is made below `folder` if it is not there.

        Raises:
            EnvironmentFailed: pip could not install it.
        """
        home = folder / self.name
        python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        wanted = json.dumps([self.steps, self.variables])
        made = home / "made.json"
        if not made.is_file() or made.read_text() != wanted:
            home.mkdir(parents=True, exist_ok=True)
            log = folder / f"{self.name}.log"
            with log.open("w") as told:
                self._run([sys.executable, "-m", "venv", "--clear", str(home)], told.fileno(), log)
                for step in self.steps:
                    install = [str(python), "-m", "pip", "install", *step]
                    self._run(install, told.fileno(), log)
            made.write_text(wanted)
        return python

    def _run(self, command: list[str], output: int, log: Path) -> None:
        variables = {**os.environ, **self.variables}
        done = subprocess.run(command, stdout=output, stderr=output, env=variables, check=False)
        if done.returncode:
            lines = log.read_text(errors="replace").strip().splitlines()
            errors = [line for line in lines if line.lower().startswith("error")]
            raise EnvironmentFailed(f"not installed: {(errors or lines)[-1][:200]} (see {log})")


@dataclass(frozen=True)
class OurOwn:
    """The Python that runs this, if it has these packages; else another environment."""

    packages: Sequence[str] = ()
    otherwise: Environment | None = None

    def python(self, folder: Path) -> Path:
        """The interpreter."""
        if self.otherwise is None or all(map(find_spec, self.packages)):
            return Path(sys.executable)
        return self.otherwise.python(folder)


def llama_cpp(name: str, *switches: str, also: str = "") -> Environment:
    """llama.cpp compiled here with these switches of its build, and what CMake is told beside."""
    build = " ".join((*(f"-DGGML_{switch}" for switch in switches), also)).strip()
    # A wheel in pip's cache could have been compiled with other switches.
    compiled = ("--no-cache-dir", "--no-binary", "llama-cpp-python")
    return Environment(
        name, [(*compiled, "llama-cpp-python==0.3.36", "gguf==0.19.0")], {"CMAKE_ARGS": build}
    )


TRANSFORMERS = OurOwn(
    ("transformers", "torchvision"),
    Environment("transformers", [TORCH, TORCHVISION, ("transformers==5.23.0", "pillow>=10.4")]),
)
TORCHAO = Environment(
    "torchao",
    [TORCH, TORCHVISION, ("transformers==5.23.0", "torchao==0.18.0", "pillow>=10.4")],
)
LLAMA_CPP = llama_cpp("llama_cpp", "NATIVE=ON", also=KEEP_STORES)
LLAMA_CPP_AVX2 = llama_cpp(
    "llama_cpp_avx2",
    *("NATIVE=OFF", "AVX=ON", "AVX2=ON", "FMA=ON", "F16C=ON", "BMI2=ON", "AVX512=OFF"),
)
LLAMA_CPP_AVX512 = llama_cpp(
    "llama_cpp_avx512",
    *("NATIVE=OFF", "AVX=ON", "AVX2=ON", "FMA=ON", "F16C=ON", "BMI2=ON", "AVX512=ON"),
    *("AVX512_VBMI=ON", "AVX512_VNNI=ON", "AVX512_BF16=ON"),
)
OPENVINO = Environment(
    "openvino",
    [
        TORCH,
        TORCHVISION,
        ("optimum-intel[openvino]==2.2.0", "openvino-genai==2026.4.1.0", "transformers==5.0.0"),
    ],
)
