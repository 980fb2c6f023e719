"""Python and the libraries: are they there, do they start, do they belong together?"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from sslkit.doctor.row import Row, judged, row
from sslkit.doctor.trial import Facts

# Distributions whose module has another name.
_MODULES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scenedetect-headless": "scenedetect",
    "scikit-learn": "sklearn",
}
_WITHOUT = {"decord": "PyAV decodes in its place"}
"""Required libraries that sslkit goes on without, and what then happens."""
_OVERWRITE_CV2 = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
_OF_DEVELOPERS = ("test",)
_NEEDED_FORMATS = ("H.264", "AAC")


@dataclass(frozen=True)
class Requirement:
    """A distribution, the versions that fit (`>=2.11,<2.15`), and the extra that asks for it, if it is not required."""

    name: str
    versions: str = ""
    extra: str = ""

    @property
    def installed(self) -> str | None:
        """The version that is installed, or None."""
        return _installed(self.name)

    @property
    def module(self) -> str:
        """What is imported."""
        return _MODULES.get(self.name, self.name.replace("-", "_"))

    def __str__(self) -> str:
        return f"'{self.name}{self.versions}'"


def requirements() -> list[Requirement]:
    """What the installed sslkit asks for. If it is not installed itself, that is all that is asked for."""
    try:
        lines = metadata.requires("sslkit") or []
    except metadata.PackageNotFoundError:
        return [Requirement("sslkit")]
    shape = re.compile(r"([\w.-]+)(?:\[.*?\])?\s*\(?([^;)]*)\)?\s*(?:;.*?extra\s*==\s*['\"](\w+)['\"].*)?")
    parts = [match.groups() for line in lines if (match := shape.fullmatch(line))]
    listed = [Requirement(name.lower(), versions.replace(" ", ""), extra or "") for name, versions, extra in parts]
    return [one for one in listed if one.extra not in _OF_DEVELOPERS]


def modules(wanted: Sequence[Requirement]) -> list[str]:
    """Modules of what is required and there."""
    return [one.module for one in wanted if not one.extra and one.installed]


def python() -> Row:
    """Whether this is a Python that the libraries are built for."""
    version = ".".join(map(str, sys.version_info[:3]))
    known = sys.version_info < (3, 13)
    return judged("python", known, f"{version}{'' if known else ' is untested.'}", "python3.12 -m venv .venv")


def library(one: Requirement, seen: Mapping[str, Facts]) -> Row:
    """Whether a requirement is installed, fits, and can be imported."""
    version, install = one.installed, f"python -m pip install {one}"
    if version is None and one.extra:
        return row(one.name, "ok", "Not installed, and needed for an extra only.", f"pip install 'sslkit[{one.extra}]'")
    if version is None:
        return _broken(one, "It is not installed.", install)
    if not _fits(version, one.versions):
        return _broken(one, f"{version} is installed, but sslkit needs {one.versions}.", install)
    error = seen.get(one.module, {}).get("error")
    if error:
        again = f"python -m pip install --force-reinstall --no-deps {one}"
        return _broken(one, f"{version} cannot be imported: {error}", again)
    return row(one.name, "ok", version)


def _broken(one: Requirement, what: str, fix: str) -> Row:
    if one.name in _WITHOUT:
        return row(one.name, "warn", f"{what} {_WITHOUT[one.name]}.", fix)
    return row(one.name, "fail", what, fix)


def torch_family(wanted: Sequence[Requirement], seen: Mapping[str, Facts]) -> Row:
    """Whether torchvision was built for this torch: 0.26 for 2.11, 0.29 for 2.14, both for the CPU or for CUDA."""
    family = [str(one) for one in wanted if one.name in ("torch", "torchvision", "torchaudio")]
    check, fix = "torch family", f"python -m pip install --upgrade {' '.join(family)}"
    torch, vision = (seen.get(name, {}).get("version") or _installed(name) or "" for name in ("torch", "torchvision"))
    if not torch or not vision:
        return row(check, "fail", f"{'torch' if not torch else 'torchvision'} is not there.", fix)
    release = _release(torch)
    belonging = f"0.{release[1] + 15 if len(release) > 1 else 15}"
    if not vision.startswith(f"{belonging}."):
        return row(check, "fail", f"torch {torch} goes with torchvision {belonging}, not with {vision}.", fix)
    if ("+cpu" in torch) != ("+cpu" in vision):
        return row(check, "fail", f"torch {torch} and torchvision {vision} are builds for different devices.", fix)
    return row(check, "ok", f"torch {torch} and torchvision {vision} belong together.")


def opencv(wanted: Sequence[Requirement], about: Facts) -> Row:
    """Whether the cv2 that is imported is the one that was asked for, with its cascades."""
    others = [name for name in _OVERWRITE_CV2 if _installed(name)]
    ours = next((str(one) for one in wanted if one.module == "cv2"), "opencv-python-headless")
    removed = " ".join([*others, "opencv-python-headless"])
    fix = f"python -m pip uninstall -y {removed} && python -m pip install {ours}"
    if others:
        return row("opencv", "warn", f"{', '.join(others)} overwrites opencv-python-headless.", fix)
    if about.get("error"):
        return row("opencv", "fail", f"OpenCV cannot be tried: {about['error']}", fix)
    return judged("opencv", about["cascades"] > 0, f"{about['version']} with {about['cascades']} cascades.", fix)


def formats(about: Facts) -> list[Row]:
    """Which formats PyAV decodes: a row each."""
    fix = "python -m pip install --force-reinstall av"
    if about.get("error"):
        return [row("formats", "fail", f"PyAV cannot be tried: {about['error']}", fix)]
    return [_format(name, why_not, fix) for name, why_not in about["why_not"].items()]


def _format(name: str, why_not: str, fix: str) -> Row:
    if not why_not:
        return row(f"decode {name}", "ok", "A tiny stream was made and decoded.")
    return row(f"decode {name}", "fail" if name in _NEEDED_FORMATS else "warn", f"{why_not}.", fix)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fits(version: str, versions: str) -> bool:
    """Whether a version lies in a range such as `>=2.11,<2.15`; conditions of another kind are taken to hold."""
    for condition in versions.split(","):
        match = re.fullmatch(r"(>=|<=|==|<|>)([\d.]+)", condition)
        if match:
            ours, theirs = _release(version), _release(match[2])
            holds = {">=": ours >= theirs, "<=": ours <= theirs, "==": ours == theirs, "<": ours < theirs}
            if not holds.get(match[1], ours > theirs):
                return False
    return True


def _release(version: str) -> list[int]:
    """The numbers of a version without zeros at its end: 2.14.0+cu130 is [2, 14]."""
    numbers = [int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers
