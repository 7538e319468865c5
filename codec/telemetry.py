"""No telemetry: libraries that report to their makers are silenced before they are imported.

ONNX Runtime's wheels (1.29 and later) write a device id and a database of events into the user's cache as they are
imported, and send them later. `import openvino` sends an event and writes a client id into the home folder.
"""

from __future__ import annotations

import os
import sys

REPORTER = "openvino_telemetry"  # OpenVINO has a stub of its own for where it cannot be imported


def disable() -> None:
    """Silence what is imported from now on, by this package or its caller, and in child processes."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules[REPORTER] = None  # type: ignore[assignment]  # Python's way to say that a module cannot be imported
