"""What a figure was measured on, seconds and memory."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar("Result")

PATIENCE_SECONDS = 2.0  # a call that takes longer is timed once: it need not be repeated to be sure of two digits


def processor() -> str:
    """Its name, as the system knows it, and the vector instructions that torch uses."""
    info = Path("/proc/cpuinfo")  # Linux has it; elsewhere the standard library knows the name
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.backends.cpu.get_cpu_capability()}"


def timed(action: Callable[[], Result], repeats: int, patience: float = PATIENCE_SECONDS) -> tuple[Result, float, int]:
    """Result of a call, the median of its seconds, and how often it was timed."""
    times: list[float] = []
    while len(times) < repeats and (not times or times[-1] < patience):
        start = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - start)
    return result, round(statistics.median(times), 4), len(times)


def memory_kb(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0])


def peak_mb(action: Callable[[], Result]) -> tuple[Result, float]:
    """Result of a call, and the MB of resident memory that it adds at most, child processes included (Linux)."""
    import resource

    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = memory_kb("VmRSS")
    result = action()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return result, round((memory_kb("VmHWM") - before + children) / 1e3, 1)
