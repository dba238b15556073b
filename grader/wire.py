"""Values on their way into a student's kernel and back: plain data, checked when it arrives.

Nothing is pickled. What comes back was made by a stranger's program, so an array is believed only
when its bytes are as many as its shape says.
"""

from __future__ import annotations

import base64
import json

import numpy as np

from labkit.selfcheck.exercise import Value
from labkit.selfcheck.networks import Network

MAX_TEXT = 300  # characters of an error that are passed on
KINDS = "biufc"  # bool, integers, floats, complex: what an array may hold


def written(value: Value) -> bytes:
    """A value as JSON.

    Raises:
        TypeError: it is neither data nor made of data.
    """
    return json.dumps(_plain(value)).encode("ascii")


def read(content: bytes) -> Value:
    """The value that `written` wrote.

    Raises:
        ValueError: the content is not what `written` writes.
    """
    try:
        return _value(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"content is not a value: {type(error).__name__}: {error}") from None


def _plain(value: Value) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Network):
        return {"network": value.kind, "weights": {k: _plain(v) for k, v in value.weights.items()}}
    if isinstance(value, np.ndarray) and value.dtype.kind in KINDS:
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode("ascii")
        return {"array": content, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {"dict": [[_plain(key), _plain(part)] for key, part in value.items()]}
    of = f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
    raise TypeError(f"expected numbers, arrays or tensors, got {type(value).__name__}{of}")


def _value(plain: object) -> Value:
    if isinstance(plain, list):
        return tuple(_value(part) for part in plain)
    if not isinstance(plain, dict):
        return plain
    if "array" in plain:
        return _array(plain["array"], plain["dtype"], plain["shape"])
    if "network" in plain:
        return Network(plain["network"], {k: _value(v) for k, v in plain["weights"].items()})
    return {_value(key): _value(part) for key, part in plain["dict"]}


def _array(content: str, name: str, shape: list[int]) -> np.ndarray:
    dtype, raw = np.dtype(name), base64.b64decode(content, validate=True)
    if dtype.kind not in KINDS or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"an array of {name} with shape {shape}")
    return np.frombuffer(raw, dtype).reshape(shape).copy()  # fails where their numbers differ
