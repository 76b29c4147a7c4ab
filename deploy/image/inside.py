"""Print as JSON the rights and the files that a process in the container has.

docker_test.py runs it in the container.
"""

import importlib.util
import json
import sys
from pathlib import Path

FOLDERS = ("/", "/opt/cellgate", "/models", "/data", "/tmp")
UNWANTED = ("torch", "training", "pip", "setuptools", "onnx")
SHELLS = ("/bin/sh", "/bin/bash", "/usr/bin/apt")


def can_write(folder: str) -> bool:
    """Whether a file can be created there."""
    probe = Path(folder, "probe")
    try:
        probe.write_text("x")
        probe.unlink()
    except OSError:
        return False
    return True


def main() -> None:
    """Look at process 1, which is the server, and at its file system."""
    lines = (line.partition(":") for line in Path("/proc/1/status").read_text().splitlines())
    status = {key: value.split() for key, _, value in lines}
    report = {
        "user": int(status["Uid"][0]),
        "capabilities": int(status["CapEff"][0], 16),
        "can gain privileges": status["NoNewPrivs"] == ["0"],
        "writable": [folder for folder in FOLDERS if can_write(folder)],
        "unwanted modules": [name for name in UNWANTED if importlib.util.find_spec(name)],
        "shells": [path for path in SHELLS if Path(path).exists()],
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
