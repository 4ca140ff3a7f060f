"""A worker of the comparison: a process that holds one engine, and sleeps when it is not asked."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
KIND = re.compile(r"^(Rss|Pss|Anonymous): +(\d+) kB$", re.MULTILINE)
PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class WorkerError(Exception):
    """The engine could not do what it was asked; the text is the reason."""


class Worker:
    """Runs `module` in this Python; it is stopped whenever no request is under way.

    A thread that spins while it waits for work would otherwise slow down the one being measured.
    """

    def __init__(
        self,
        python: Path,
        module: str,
        settings: Mapping[str, str],
        environment: Mapping[str, str],
        log: Path,
        patience: float = 3600,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log, self._patience = log, patience
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", module, "--settings", json.dumps(dict(settings))],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Its answer, while nothing else is measured.

        Raises:
            WorkerError: it refused, failed, ended, or took too long.
        """
        if self._process.poll() is not None:
            raise WorkerError(self._ended())
        if hasattr(signal, "SIGCONT"):
            self._process.send_signal(signal.SIGCONT)
        try:
            return self._asked(json.dumps({"do": do, **request}))
        finally:
            self._stop()

    def memory(self) -> dict[str, int] | None:
        """Bytes now and at most, where the system tells them."""
        folder = Path("/proc") / str(self.process)
        try:
            kinds = dict(KIND.findall((folder / "smaps_rollup").read_text()))
            (peak,) = PEAK.findall((folder / "status").read_text())
        except (OSError, ValueError):
            return None
        return {name.lower(): 1024 * int(size) for name, size in {**kinds, "peak": peak}.items()}

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _asked(self, line: str) -> dict[str, Any]:
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        try:
            requests.write(line + "\n")
            requests.flush()
        except BrokenPipeError:
            raise WorkerError(self._ended()) from None
        if hasattr(os, "fork") and not select.select([replies], [], [], self._patience)[0]:
            self.close()
            raise WorkerError(f"no answer within {self._patience:.0f} s")
        reply = replies.readline()
        if not reply:
            raise WorkerError(self._ended())
        told = json.loads(reply)
        if "error" in told:
            raise WorkerError(told["error"])
        return told["result"]

    def _ended(self) -> str:
        code = self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        return f"the process ended with code {code}: {lines[-1].strip()[:200]}"

    def _stop(self) -> None:
        if self._process.poll() is None and hasattr(signal, "SIGSTOP"):
            self._process.send_signal(signal.SIGSTOP)
            if hasattr(os, "waitid"):  # until it has really stopped, or is gone
                os.waitid(os.P_PID, self.process, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
