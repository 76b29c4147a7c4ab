"""Collect the image's file system: the interpreter, the installed packages and the libraries they link.

    python rootfs.py /opt/cellgate /rootfs

Runs in the builder stage with the interpreter that the image will have. The image gets no shell, no package
manager and no pip. Cellgate's own code is not collected here: the Dockerfile copies it on top.
"""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

USER_ID = 10001
# Files that no server needs, as globs under site-packages.
UNUSED = {
    "ONNX Runtime for C programs (Python's module holds its own copy), and its TensorRT provider": [
        "onnxruntime/capi/libonnxruntime.so*",
        "onnxruntime/capi/libonnxruntime_providers_tensorrt.so",
    ],
    "ONNX Runtime's tools, which work on graphs": [
        *(f"onnxruntime/{tool}" for tool in ("backend", "datasets", "quantization", "tools", "transformers")),
    ],
    "packages that only those tools import": ["google", "flatbuffers"],
    "numpy's compilers and test harness": [
        *(f"numpy/{part}" for part in ("f2py", "distutils", "testing", "_pyinstaller")),
        "numpy/_core/_simd.*.so",
    ],
    "tests": ["**/tests", "**/test"],
    "files for compilers and type checkers": [
        *(f"**/*.{suffix}" for suffix in ("pyi", "pyx", "pxd", "pxi", "c", "h", "cpp", "hpp", "a")),
    ],
    "bytecode, which is compiled again below": ["**/__pycache__"],
}
# Parts of the standard library that need a terminal, X or a compiler, which the image lacks, or test Python.
UNUSED_STDLIB = """
    __pycache__ config-* dist-packages site-packages sitecustomize.py test tests LICENSE.txt
    distutils ensurepip idlelib lib2to3 pydoc_data sqlite3 tkinter turtle* venv
    _ctypes_test* _curses* _dbm* _gdbm* _sqlite3* _test* _tkinter* _xxtest*
    nis.* ossaudiodev.* readline.* xxlimited*
"""


def say(line: str) -> None:
    """Print a line of the build log."""
    sys.stdout.write(line + "\n")


def megabytes(paths: Iterable[Path]) -> float:
    """Total size of files and whole folders."""
    files = (file for path in paths for file in ([path] if path.is_file() else path.rglob("*")))
    return sum(file.lstat().st_size for file in files if not file.is_dir()) / 1e6


def remove(paths: Iterable[Path]) -> None:
    """Delete files and whole folders."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.is_symlink() or path.exists():
            path.unlink()


def trim(packages: Path) -> None:
    """Delete files that the server never reads, and log the size of each kind."""
    for reason, globs in UNUSED.items():
        unused = [path for pattern in globs for path in packages.glob(pattern)]
        say(f"{megabytes(unused):8.1f} MB  {reason}")
        remove(unused)


def programs(folder: Path) -> list[Path]:
    """Every ELF file under `folder`: programs, compiled modules, libraries."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if path.open("rb").read(4) == b"\x7fELF"]


def strip(root: Path, packages: Path) -> None:
    """Remove debug symbols, but not from libraries that `auditwheel` patched: `strip` breaks some of them."""
    patched = [folder.with_suffix(suffix) for folder in packages.glob("*.libs") for suffix in ("", ".libs")]
    untouched = [*patched, packages / "nvidia"]
    before = megabytes([root])
    for path in programs(root):
        if not any(path.is_relative_to(folder) for folder in untouched):
            subprocess.run(["strip", "--strip-unneeded", path], check=True)
    say(f"{before - megabytes([root]):8.1f} MB  debug symbols")


def compile_packages(folder: Path, root: Path) -> None:
    """Replace sources by bytecode: half the size, and a read-only root allows none to be written later."""
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(
        folder, quiet=1, legacy=True, workers=0, invalidation_mode=unchecked, stripdir=root, prependdir="/"
    ):
        raise SystemExit(f"cannot compile {folder}")
    sources = [source for source in folder.rglob("*.py") if source.with_suffix(".pyc").exists()]
    say(f"{megabytes(sources):8.1f} MB  sources of {len(sources)} modules in {folder}")
    remove(sources)


def copy_interpreter(root: Path) -> Path:
    """Copy the interpreter and its standard library to their paths under `root`. Returns the interpreter."""
    interpreter = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    copy_file(interpreter, root)
    shutil.copytree(
        stdlib, under(root, stdlib), symlinks=True, ignore=shutil.ignore_patterns(*UNUSED_STDLIB.split())
    )
    compile_packages(under(root, stdlib), root)
    return interpreter


def copy_packages(venv: Path, root: Path, interpreter: Path) -> Path:
    """Copy the virtual environment, with Python as its only program. Returns its site-packages."""
    target = under(root, venv)
    shutil.copytree(venv, target, symlinks=True, ignore=shutil.ignore_patterns("bin", "include", "lib64"))
    (target / "bin").mkdir()
    (target / "bin" / "python").symlink_to(interpreter)
    (packages,) = target.glob("lib/python*/site-packages")
    trim(packages)
    compile_packages(packages, root)
    return packages


def libraries(root: Path) -> set[Path]:
    """Libraries outside `root` that programs in it load, the dynamic linker included, as `ldd` lists them."""
    paths: set[Path] = set()
    for program in programs(root):
        listing = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        paths |= {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", listing, re.MULTILINE)}
    return {path for path in paths if not path.is_relative_to(root)}


def copy_file(source: Path, root: Path) -> None:
    """Copy one file to its own path under `root`; links become files."""
    target = under(root, source)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def under(root: Path, path: Path) -> Path:
    """The place of the image's `path` during collection."""
    return root / path.relative_to("/")


def copy_system(root: Path, packages: Path) -> None:
    """Add libraries, certificates, the user, and the folders that the server writes to."""
    for link in ("bin", "lib", "lib64", "sbin"):  # Debian's /lib is a link to /usr/lib
        if Path("/", link).is_symlink():
            (root / "usr" / link).mkdir(parents=True, exist_ok=True)
            (root / link).symlink_to(f"usr/{link}")
    linked = libraries(root)
    for path in [*linked, Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/os-release")]:
        if path.exists():
            copy_file(path, root)
    copy_package_records(linked, root)
    etc = root / "etc"
    (etc / "passwd").write_text(f"cellgate:x:{USER_ID}:{USER_ID}::/data:/sbin/nologin\n")
    (etc / "group").write_text(f"cellgate:x:{USER_ID}:\n")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")
    shutil.copytree("/etc/ld.so.conf.d", etc / "ld.so.conf.d")
    shutil.copy("/etc/ld.so.conf", etc)
    cuda = [f"/{folder.relative_to(root)}\n" for folder in sorted(packages.glob("nvidia/*/lib"))]
    (etc / "ld.so.conf.d" / "cuda.conf").write_text("".join(cuda))
    subprocess.run(["ldconfig", "-r", root], check=True)
    for folder, mode, owner in (("tmp", 0o1777, 0), ("data", 0o750, USER_ID)):
        (root / folder).mkdir()
        (root / folder).chmod(mode)
        os.chown(root / folder, owner, owner)


def copy_package_records(files: Iterable[Path], root: Path) -> None:
    """Copy dpkg's record and the licence of each library's package: image scanners read them there."""
    names = {str(path) for file in files for path in (file, file.resolve())}
    names |= {name.removeprefix("/usr") for name in names}
    lines = subprocess.run(["dpkg", "-S", *sorted(names)], capture_output=True, text=True).stdout.splitlines()
    records = root / "var/lib/dpkg/status.d"
    records.mkdir(parents=True)
    owners = {line.split(": ")[0] for line in lines}
    for owner in sorted(owner for owner in owners if " " not in owner):  # other lines say "diversion by …"
        record = subprocess.run(["dpkg", "-s", owner], capture_output=True, text=True, check=True).stdout
        package = owner.split(":")[0]
        (records / package).write_text(record)
        licence = Path("/usr/share/doc", package, "copyright")
        if licence.exists():
            copy_file(licence, root)


def main() -> None:
    """Collect, and log the sizes."""
    venv, root = Path(sys.argv[1]), Path(sys.argv[2])
    root.mkdir()
    packages = copy_packages(venv, root, copy_interpreter(root))
    copy_system(root, packages)
    strip(root, packages)
    say(f"{megabytes([root]):8.1f} MB  in total")


if __name__ == "__main__":
    main()
