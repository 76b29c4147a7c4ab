"""Scripts of the image: the requirements, the trimmed file system and the health check."""

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import packages_distributions
from pathlib import Path
from threading import Thread

import pytest

from deploy.image import healthcheck, requirements, rootfs

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "pyproject.toml"


def names(*extras: str) -> set[str]:
    return {requirements.name(line) for line in requirements.requirements(PYPROJECT, list(extras))}


def imported_by(package: Path) -> set[str]:
    """The top-level modules of other distributions that the files of a package import."""
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {package.name}


def test_the_plain_image_has_the_cpu_runtime_and_no_training() -> None:
    assert "onnxruntime" in names()
    assert not names() & {"torch", "lightning", "redis", "onnxruntime-gpu"}


def test_an_extra_adds_its_dependencies() -> None:
    assert names("redis") == names() | {"redis"}


def test_the_image_has_nothing_of_the_client() -> None:
    assert not names("redis", "otel") & {"httpx", "cellgate"}


def test_all_that_the_server_imports_is_in_the_image_or_an_extra() -> None:
    """A package that only the client required was once imported by the server: its image did not start."""
    brought = {"starlette"}  # by FastAPI
    distributions = packages_distributions()
    for module in sorted(imported_by(ROOT / "service") - brought):
        owners = {owner.lower().replace("_", "-") for owner in distributions[module]}
        assert owners & names("redis", "text", "otel", "table"), module


def test_gpu_replaces_the_cpu_runtime_because_both_unpack_into_one_folder() -> None:
    assert "onnxruntime-gpu" in names("gpu")
    assert "onnxruntime" not in names("gpu", "redis")


def test_an_unknown_extra_ends_the_build() -> None:
    with pytest.raises(SystemExit, match=r"no such extra: gpus; extras: .*gpu"):
        names("gpus")


@pytest.mark.parametrize("line", ["redis>=5", "Redis [hiredis] ~= 5", "redis; python_version > '3'", "redis"])
def test_the_name_of_a_requirement(line: str) -> None:
    assert requirements.name(line) == "redis"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_trimming_deletes_files_that_no_server_reads(tmp_path: Path) -> None:
    needed = {"numpy/__init__.py", "numpy/typing/__init__.py", "onnxruntime/capi/state.so", "lmdb/cpython.so"}
    unused = {
        "numpy/tests/test_a.py",
        "numpy/f2py/a.py",
        "numpy/a.pyi",
        "onnxruntime/tools/b.py",
        "uvloop/a.pyx",
    }
    unused |= {"onnxruntime/capi/libonnxruntime.so.1.2.3", "numpy/__pycache__/a.pyc"}
    touch(tmp_path, *needed, *unused)
    rootfs.trim(tmp_path)
    assert files_in(tmp_path) == needed


def test_bytecode_replaces_the_sources(tmp_path: Path) -> None:
    touch(tmp_path / "opt", "package/data.json")
    (tmp_path / "opt/package/module.py").write_text("name = __file__\n")
    rootfs.compile_packages(tmp_path / "opt", tmp_path)
    assert files_in(tmp_path / "opt") == {"package/data.json", "package/module.pyc"}


def test_sizes_count_files_and_folders(tmp_path: Path) -> None:
    touch(tmp_path, "folder/a", "folder/b", "c")
    assert rootfs.megabytes([tmp_path / "folder", tmp_path / "c"]) == pytest.approx(3e-6)


@contextmanager
def server(status: int, body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        try:
            yield http.server_port
        finally:
            http.shutdown()
            thread.join()


def test_the_health_check_passes_when_the_server_is_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server(200, b"{}") as port:
        monkeypatch.setenv("CELLGATE_HOST", "0.0.0.0")
        monkeypatch.setenv("CELLGATE_PORT", str(port))
        assert healthcheck.main() == 0
    assert capsys.readouterr().out == "ready\n"


def test_the_health_check_reports_why_it_fails() -> None:
    with server(503, b"no model") as port:
        assert healthcheck.problem("127.0.0.1", port, timeout_s=3) == "503 no model"
    assert "ConnectionRefusedError" in healthcheck.problem("127.0.0.1", port, timeout_s=3)
