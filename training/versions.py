"""Versions of the packages that decide a result. Knows nothing of runs or exports."""

import sys
from importlib.metadata import version

PACKAGES = ("torch", "lightning", "numpy", "onnx", "onnxruntime")


def package_versions() -> dict[str, str]:
    """The versions of Python and of PACKAGES, by name."""
    return {"python": sys.version.split()[0], **{package: version(package) for package in PACKAGES}}
