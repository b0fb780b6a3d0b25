"""Weight files: reading them safely, writing them reproducibly, and handing them to a network with nothing missing and
nothing left over.

A file from elsewhere is data, never code: safetensors, `.pth` through torch's restricted unpickler, or darknet's binary
format. Where files are looked for and fetched from is the business of `weight_files.py`; what their keys mean, of
`keymaps.py`. Imports torch on use only.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import BenchError, first_line
from bench.core.registries import BACKBONES
from bench.core.store import atomic_write, canonical_json
from bench.models.backbones import BackboneFacts
from bench.models.weight_files import verify_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

State = dict[str, "Tensor"]

_METADATA_KEY = "saropt-bench"
_TORCH_SUFFIXES = (".pth", ".pt", ".tar")
_DARKNET_SUFFIXES = (".weights", ".74")
_NESTED = ("state_dict", "model")
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError,
    AttributeError, ImportError, AssertionError, NotImplementedError, MemoryError, OverflowError,
)  # fmt: skip


def save_weights(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `state` as safetensors, atomically; the same tensors and metadata give the same bytes.

    Metadata go into the header as one JSON text under one key, since the format keeps several keys in no fixed order.

    Raises:
        BenchError: the folder cannot be written to, or the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    header = {_METADATA_KEY: canonical_json(dict(metadata or {}))}
    with atomic_write(Path(path)) as temporary:
        try:
            save_file(tensors, str(temporary), metadata=header)
        except SafetensorError as error:
            raise BenchError(
                f"cannot write {path}: {first_line(error)}; free space or choose another folder"
            ) from error


def load_weights(path: Path) -> tuple[State, dict[str, str]]:
    """Read a weight file of any supported format onto the CPU; return (tensors by key as the file names them,
    metadata).

    `.safetensors`; `.pth`, `.pt`, `.tar` (a state dict, or one under "state_dict" or "model"; a common "module." prefix
    is taken off); darknet's `.weights` and `.conv.74` (returned in the neutral layout). Code in a pickle is never
    executed.

    Raises:
        BenchError: missing, damaged, of another format, or a pickle that asks for more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise BenchError(f"no weight file at {path}")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    if path.suffix in _TORCH_SUFFIXES:
        return _load_torch(path), {}
    if path.suffix in _DARKNET_SUFFIXES:
        from bench.models.keymaps import DARKNET_FILE_BYTES, darknet_from_binary

        size = path.stat().st_size
        if size != DARKNET_FILE_BYTES:  # refused before it is read
            raise BenchError(f"{path} has {size:,} bytes, darknet53.conv.74 has {DARKNET_FILE_BYTES:,}; fetch it again")
        return darknet_from_binary(path.read_bytes(), str(path)), {}
    known = ", ".join([".safetensors", *_TORCH_SUFFIXES, *_DARKNET_SUFFIXES])
    raise BenchError(f"{path} has no known weight format (by its suffix; known: {known})")


def load_into(module: nn.Module, state: Mapping[str, Tensor], allow_unused: Iterable[str] = ()) -> None:
    """Copy `state` into `module`: every tensor of the module is set, and no key is left over but declared heads.

    Args:
        allow_unused: names of parts of `state` that the module does not have ("fc" covers "fc.weight" and "fc.bias").

    Raises:
        BenchError: keys missing or left over, or shapes that differ; nothing has been copied then.
    """
    heads = tuple(allow_unused)
    used = {key: value for key, value in state.items() if not _belongs(key, heads)}
    _check(used, module.state_dict(), "the weights")
    module.load_state_dict(used, strict=True)


def load_renamed(
    module: nn.Module,
    state: Mapping[str, Tensor],
    there: Callable[[Mapping[str, Tensor]], State],
    back: Callable[[Mapping[str, Tensor]], State],
    backbone: str,
) -> str:
    """Copy a complete neutral `state` of `backbone` into another library's `module`; return the SHA-256 of what then
    stands there, in the neutral layout.

    Args:
        there, back: from the neutral layout to the module's keys, and from these again.

    Raises:
        BenchError: a tensor is missing, left over or of another shape, or does not stand there afterwards.
    """
    load_into(module, there(state))
    found, wanted = state_sha256(back(module.state_dict())), state_sha256(state)
    if found != wanted:
        raise BenchError(
            f"the {backbone} in the detector is not what was loaded ({found[:12]} instead of {wanted[:12]}); other"
            " dtypes?"
        )
    return found


def load_initial_weights(backbone: str, source: Path, branch: str = "", heads: Iterable[str] = ()) -> State:
    """Return the weights in `source` as a complete state of `backbone` in its neutral layout, on the CPU.

    Args:
        backbone: registered name.
        source: file in any supported format and layout (neutral, torchvision, mmdet, darknet, timm,
            efficientnet-pytorch); a file that bears the name of a published one is held to its published digest and
            size first.
        branch: prefix under which the backbone stands in the file, such as "sar." or "backbone."; all other keys are
            left aside.
        heads: further parts of the branch that are not the backbone ("fc" is known already).

    Raises:
        BenchError: unreadable, damaged, of another network, incomplete, or not finite.
    """
    import torch

    from bench.models import keymaps

    facts: BackboneFacts = BACKBONES.get(backbone)
    for known in facts.weights.values():
        if Path(source).name == known.file:
            verify_weights(Path(source), known)
    state, _ = load_weights(source)
    state = _select(state, branch, str(source))
    heads = tuple(heads)
    state = {key: value for key, value in state.items() if not _belongs(key, heads)}
    with torch.device("meta"):
        wanted = facts.build().state_dict()
    found, family = keymaps.layout_of(state), keymaps.layout_of(wanted)
    if family is not None:
        of, to_neutral = keymaps.LAYOUTS.get(found or "", (None, None))
        if of != family or to_neutral is None:
            raise BenchError(_other_network(source, backbone, state, found))
        state = to_neutral(state)
    _check(state, wanted, f"{source} as {backbone}")
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise BenchError(f"{source}: {key} holds NaN or infinity; the file is damaged or its training diverged")
    return {key: state[key] for key in wanted}


def permuted_within_layers(state: Mapping[str, Tensor], seed: int) -> State:
    """Return the state with the numbers of each tensor in another order: what is left of training is each layer's scale
    and distribution. The vectors of a layer (those of a batch norm) share one order, so that they stay consistent.
    """
    import torch

    out: State = {}
    for name, tensor in state.items():
        layer = name.rpartition(".")[0] if tensor.ndim <= 1 else name
        words = np.frombuffer(hashlib.sha256(layer.encode()).digest(), dtype=np.uint32)
        order = np.random.default_rng([seed, *words.tolist()]).permutation(tensor.numel())
        out[name] = tensor.reshape(-1)[torch.from_numpy(order)].reshape(tensor.shape)
    return out


def first_prefix(keys: Iterable[str], prefixes: Iterable[str]) -> str:
    """Return the first of `prefixes` that any of `keys` begins with; "" if none does. It is what `load_initial_weights`
    takes as branch.
    """
    keys = list(keys)
    return next((prefix for prefix in prefixes if any(key.startswith(prefix) for key in keys)), "")


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the hexadecimal SHA-256 over names, dtypes, shapes and values of `state`, in whatever order its keys."""
    import torch

    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _load_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as stream:
            metadata = dict(stream.metadata() or {})
            state = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise BenchError(
            f"{path} is no intact safetensors file ({first_line(error)}); fetch or make it again"
        ) from error
    if set(metadata) == {_METADATA_KEY}:
        try:
            metadata = {str(key): str(value) for key, value in json.loads(metadata[_METADATA_KEY]).items()}
        except (ValueError, AttributeError) as error:
            raise BenchError(f"{path} has a damaged header ({first_line(error)}); make it again") from error
    return state, metadata


def _load_torch(path: Path) -> State:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols, to somebody who cannot change them
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BenchError(f"cannot read {path}: {first_line(error)}") from error
    except _UNPICKLING_ERRORS as error:
        raise BenchError(
            f"{path} is no plain tensor checkpoint and was not opened further (damaged, or a pickle that asks for more "
            "than tensors); save its state dict with torch.save, or as safetensors"
        ) from error
    for key in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise BenchError(f"{path} holds no state dict but {type(content).__name__}; save a network's state_dict()")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise BenchError(
                f"{path}: entry {key!r} is no tensor but {type(value).__name__}; save a network's state_dict()"
            )
    if all(key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def _belongs(key: str, parts: Iterable[str]) -> bool:
    return any(key == part or key.startswith(part.rstrip(".") + ".") for part in parts)


def _select(state: State, branch: str, where: str) -> State:
    """Return the keys under the prefix `branch`, without it."""
    if not branch:
        return state
    prefix = branch.rstrip(".") + "."
    chosen = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not chosen:
        tops = sorted({key.split(".")[0] for key in state})
        raise BenchError(f"{where} has no branch {prefix!r}; its parts: {', '.join(tops[:8])}")
    return chosen


def _other_network(source: Path, backbone: str, state: State, found: str | None) -> str:
    from bench.models.keymaps import layout_of

    if found is not None:
        return f"{source} holds a {found} network, not {backbone}; checkpoint of another network?"
    for depth in (1, 2, 3):
        prefixes = sorted({".".join(key.split(".")[:depth]) for key in state if key.count(".") > depth})
        good = [
            p
            for p in prefixes
            if layout_of({k.removeprefix(p + "."): v for k, v in state.items() if k.startswith(p + ".")})
        ]
        if good:
            names = ", ".join(repr(p + ".") for p in good[:4])
            return f"{source} holds its backbone under a prefix; name it as branch: {names}"
    return f"{source} holds no {backbone} (first key {min(state, default='none')!r}); checkpoint of another network?"


def _check(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> None:
    """Raise BenchError unless `state` has exactly the keys and shapes of `wanted`."""
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    parts = [("missing", missing), ("left over", unexpected), ("of another shape", shapes)]
    misfits = [
        f"{len(keys)} {word} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" for word, keys in parts if keys
    ]
    if misfits:
        raise BenchError(f"{what} do not fit: {'; '.join(misfits)}; checkpoint of another network?")
