"""Processes that can be killed at any moment: forked from one that has imported the package, so they start at once."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any


class Nursery:
    """Runs functions of `tests.records.children` in processes of their own, one at a time."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.records.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=Path(__file__).parents[2],
            text=True,
        )

    def _ask(self, **order: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, function: str, **arguments: Any) -> None:
        """Start a child; it runs until it is done, or killed."""
        self._ask(do="start", function=function, arguments=arguments)

    def kill(self) -> int:
        """Kill the child with SIGKILL, if it still runs; its exit status."""
        return self._ask(do="kill")

    def wait(self) -> int:
        """Wait for the end of the child; its exit status, -9 if it was killed."""
        return self._ask(do="wait")

    def run(self, function: str, **arguments: Any) -> int:
        """Run a child to its end; its exit status."""
        self.start(function, **arguments)
        return self.wait()

    def run_for(self, seconds: float, function: str, **arguments: Any) -> int:
        """Run a child and kill it after a time."""
        self.start(function, **arguments)
        time.sleep(seconds)
        return self.kill()

    def close(self) -> None:
        """End the nursery."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def import_children() -> types.ModuleType:
    """Import `tests.records.children` under an empty package: records need little of what the real one has."""
    package = types.ModuleType("lightning_landscape")
    spec = importlib.util.find_spec("lightning_landscape")
    assert spec is not None
    package.__path__ = list(spec.submodule_search_locations or [])
    sys.modules["lightning_landscape"] = package
    return importlib.import_module("tests.records.children")


def _serve() -> None:
    children = import_children()
    child = 0
    for line in sys.stdin:
        order = json.loads(line)
        answer = 0
        if order["do"] == "start":
            child = os.fork()
            if not child:
                try:
                    getattr(children, order["function"])(**order["arguments"])
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
        else:
            if order["do"] == "kill":
                # Not waited for yet, so the number is still the child's.
                os.kill(child, signal.SIGKILL)
            answer = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(answer, flush=True)


if __name__ == "__main__":
    _serve()
