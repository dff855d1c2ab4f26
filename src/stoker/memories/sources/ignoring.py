"""What a folder holds beside what a person wrote: tools' folders, built files, what git ignores."""

from __future__ import annotations

import re
from fnmatch import translate
from pathlib import PurePosixPath

_FOLDERS = frozenset((
    ".git", ".hg", ".svn", ".idea", ".vscode", ".cache", ".tox", ".nox", ".venv", "venv",
    "node_modules", "bower_components", "__pycache__", ".mypy_cache", ".pytest_cache",
    ".ruff_cache", ".hypothesis", ".gradle", ".terraform", ".next", ".nuxt", "__MACOSX",
    "site-packages",
))  # fmt: skip
_SUFFIXES = frozenset((
    ".7z", ".a", ".avi", ".avif", ".bin", ".bmp", ".bz2", ".class", ".db", ".dll", ".dylib",
    ".exe", ".flac", ".gguf", ".gif", ".gz", ".heic", ".ico", ".iso", ".jar", ".jpeg", ".jpg",
    ".lib", ".lock", ".m4a", ".map", ".mkv", ".mov", ".mp3", ".mp4", ".npy", ".npz", ".o",
    ".obj", ".ogg", ".onnx", ".otf", ".parquet", ".png", ".psd", ".pt", ".pyc", ".pyd", ".pyo",
    ".rar", ".safetensors", ".so", ".sqlite", ".svg", ".swp", ".tar", ".tgz", ".tif", ".tiff",
    ".ttf", ".wasm", ".wav", ".webm", ".webp", ".whl", ".woff", ".woff2", ".xz", ".zst",
))  # fmt: skip
_NAMES = frozenset((".DS_Store", "Thumbs.db", "package-lock.json", "pnpm-lock.yaml", ".gitignore"))


class Ignored:
    """Decides what is passed over below one folder; `.gitignore`s are added as they come."""

    def __init__(self) -> None:
        self._rules: list[tuple[str, re.Pattern[str], bool, bool]] = []

    def add(self, folder: str, text: str) -> None:
        """Add the lines of the `.gitignore` in `folder` (relative, empty for the top)."""
        for line in text.splitlines()[:10_000]:
            pattern = line.strip()
            if not pattern or pattern.startswith("#") or len(pattern) > 300:
                continue
            is_negated = pattern.startswith("!")
            pattern = pattern.lstrip("!\\")
            folders_only = pattern.endswith("/")
            self._rules.append((folder, _rule(pattern.rstrip("/")), folders_only, is_negated))

    def skips(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether to pass over a relative path."""
        parts = PurePosixPath(path).parts
        folders = parts if is_folder else parts[:-1]
        if any(part in _FOLDERS for part in folders):
            return True
        name = parts[-1] if parts else ""
        if not is_folder and (
            name in _NAMES
            or PurePosixPath(name.lower()).suffix in _SUFFIXES
            or name.lower().endswith((".min.js", ".min.css"))
        ):
            return True
        return self._is_ruled_out(path, is_folder=is_folder)

    def _is_ruled_out(self, path: str, *, is_folder: bool) -> bool:
        is_out = False
        for folder, pattern, folders_only, is_negated in self._rules:  # the last one counts
            if folder and not path.startswith(f"{folder}/"):
                continue
            inside = path[len(folder) + 1 :] if folder else path
            if (is_folder or not folders_only) and pattern.match(inside):
                is_out = not is_negated
        return is_out


def _rule(pattern: str) -> re.Pattern[str]:
    """One line of `.gitignore` as an expression over a path relative to its folder."""
    # A slash in the middle or in front anchors; `*` does not go over a slash, `**` does.
    prefix = "" if "/" in pattern else "(?:.*/)?"
    pieces = [translate(piece) for piece in pattern.strip("/").split("**")]
    inner = [re.sub(r"^\(\?s:(.*)\)\\Z$", r"\1", piece, flags=re.DOTALL) for piece in pieces]
    return re.compile(prefix + ".*".join(part.replace(".*", "[^/]*") for part in inner) + r"\Z")
