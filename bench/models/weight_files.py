"""Where published weight files are: looked for locally, checked against what their publisher states, fetched only when
asked.

Owns paths, sizes and digests of files; reading them is the business of `weights.py`. Planning may use this: it imports
no torch.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.metadata
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.core.errors import BenchError, first_line
from bench.core.progress import Progress
from bench.core.registries import BACKBONES
from bench.core.store import atomic_write
from bench.core.workspace import user_path
from bench.models.backbones import BackboneFacts, WeightFile

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 30


def find_weights(
    backbone: str, env: Mapping[str, str], explicit: Path | None = None, variant: str | None = None
) -> Path:
    """Return the local file with initial weights for `backbone`.

    Looked for by its published name in $BENCH_WEIGHTS, ./weights, torch's hub cache and the installed package that
    carries it, in this order. Its size is checked where it is published; its digest when it is loaded
    (`verify_weights`).

    Args:
        explicit: a file of the user's own, taken as it is.
        variant: name of the known weight file; None takes any known one, the default first.

    Raises:
        BenchError: there is none; the message says which file, where to put it, and the command that fetches it.
    """
    if explicit is not None:
        if not Path(explicit).is_file():
            raise BenchError(f"no weight file at {explicit}")
        return Path(explicit)
    found = locate_weights(backbone, env, variant)
    if found is not None:
        return found
    known = _known(backbone, variant)
    names = " or ".join(weights.file for weights in known)
    if not known:
        raise BenchError(f"no ImageNet weights of {backbone} are known; start it otherwise")
    raise BenchError(
        f"no ImageNet weights for {backbone}: {names} is neither in $BENCH_WEIGHTS nor in ./weights nor in torch's hub "
        f"cache; put it there (from {known[0].origin}), or run `{known[0].how(backbone)}`"
    )


def locate_weights(backbone: str, env: Mapping[str, str], variant: str | None = None) -> Path | None:
    """Return the file that `find_weights` finds, None where there is none.

    Raises:
        BenchError: a file of the published name is there with another size.
    """
    for weights in _known(backbone, variant):
        path = local_file(weights, env)
        if path is not None:
            _check_size(path, weights)
            return path
    return None


def local_file(weights: WeightFile, env: Mapping[str, str]) -> Path | None:
    """Return the first file of the published name, unchecked; None where there is none."""
    return next((path for path in _places(weights, env) if path.is_file()), None)


def _places(weights: WeightFile, env: Mapping[str, str]) -> Iterator[Path]:
    for folder in search_folders(env):
        yield folder / weights.file
    if weights.package:
        try:
            listed = importlib.metadata.files(weights.package) or []
        except importlib.metadata.PackageNotFoundError:
            return
        yield from (Path(str(each.locate())) for each in listed if each.name == weights.file)


def _known(backbone: str, variant: str | None) -> list[WeightFile]:
    facts: BackboneFacts = BACKBONES.get(backbone)
    return [facts.weight_file(variant)] if variant is not None else list(facts.weights.values())


def search_folders(env: Mapping[str, str]) -> list[Path]:
    """Return the folders that `find_weights` looks into, first to last; they need not exist."""
    folders = [user_path(env["BENCH_WEIGHTS"])] if env.get("BENCH_WEIGHTS") else []
    folders.append(Path("weights"))
    if env.get("TORCH_HOME"):
        folders.append(user_path(env["TORCH_HOME"]) / "hub" / "checkpoints")
    else:
        cache = Path(env["XDG_CACHE_HOME"]) if env.get("XDG_CACHE_HOME") else Path(env.get("HOME", "~")) / ".cache"
        folders.append(user_path(cache) / "torch" / "hub" / "checkpoints")
    return folders


def verify_weights(path: Path, weights: WeightFile, sha256: str | None = None) -> None:
    """Check a file against what its publisher states.

    Args:
        sha256: the file's digest where it is known already; computed otherwise.

    Raises:
        BenchError: another size or another digest than published.
    """
    _check_size(path, weights)
    if weights.sha256_prefix:
        digest = sha256 if sha256 is not None else _sha256(path)
        if not digest.startswith(weights.sha256_prefix):
            raise BenchError(
                f"{path} is damaged or not what it is called: its SHA-256 starts with {digest[:8]}, "
                f"published is {weights.sha256_prefix[:8]}; delete it and fetch it again from {weights.origin}"
            )


def download_weights(backbone: str, dest: Path, variant: str = "imagenet", progress: Progress | None = None) -> Path:
    """Fetch a published weight file into the folder `dest`, check it, and return its path; an intact one already there
    is kept.

    The only place that uses the network for weights; called by `bench data weights NAME --download` alone.

    Raises:
        BenchError: offline, refused by the server, incomplete, or with another digest than published (nothing is left
            behind then); a file that only a package carries.
    """
    facts: BackboneFacts = BACKBONES.get(backbone)
    weights = facts.weight_file(variant)
    if not weights.url:
        raise BenchError(f"{weights.file} is carried by {weights.origin}; run: {weights.how(backbone)}")
    return fetch(weights, dest, progress or Progress())


def fetch(weights: WeightFile, dest: Path, progress: Progress) -> Path:
    """Fetch `weights` into the folder `dest`; see `download_weights`."""
    path = user_path(dest) / weights.file
    if path.is_file():
        verify_weights(path, weights)
        return path
    with atomic_write(path) as temporary:
        try:
            with urllib.request.urlopen(weights.url, timeout=_TIMEOUT_S) as reply:
                total = int(reply.headers.get("Content-Length") or 0)
                with temporary.open("wb") as stream, progress.bar(weights.file, total >> 20, "MiB") as bar:
                    while block := reply.read(_BLOCK_BYTES):
                        stream.write(block)
                        bar.advance(len(block) // _BLOCK_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BenchError(
                f"cannot fetch {weights.url} ({first_line(error)}); offline? Fetch it on another machine and put it"
                f" into {dest}"
            ) from error
        size = temporary.stat().st_size
        if total and size != total:
            raise BenchError(f"{weights.url} broke off after {size:,} of {total:,} bytes; run the command again")
        verify_weights(temporary, weights)
    return path


def _check_size(path: Path, weights: WeightFile) -> None:
    size = path.stat().st_size
    if weights.size_bytes is not None and size != weights.size_bytes:
        raise BenchError(
            f"{path} has {size:,} bytes, published are {weights.size_bytes:,}; delete it and fetch it again"
        )
    if size == 0:
        raise BenchError(f"{path} is empty; delete it and fetch it again from {weights.origin}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
