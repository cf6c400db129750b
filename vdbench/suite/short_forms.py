"""What a suite may write short, written out in full."""

from __future__ import annotations

from typing import Any

from vdbench.errors import InputError
from vdbench.suite.schema import EstimatorSpec
from vdbench.suite.sweeps import spread


def _exact(where: str, full: dict[str, Any]) -> list[Any]:
    """Published figures, those that are computed written out; estimators that are not valid are refused elsewhere."""
    items: list[Any] = full["published"]
    if not any(isinstance(item, dict) and "exact" in item for item in items):
        return items
    from vdbench.suite import exact_variances
    from vdbench.suite.grid import expand

    try:
        known = [e for spec in full["estimators"] for e in expand(EstimatorSpec(**spec))]
    except (InputError, KeyError, TypeError, ValueError):
        return [item for item in items if not (isinstance(item, dict) and "exact" in item)]
    return exact_variances.published(where, items, full.get("problems") or [], known)


def short_forms(where: str, content: dict[str, Any]) -> dict[str, Any]:
    """Write out what may be written short.

    Estimators as a name, the checkpoint ``initial``, a measure as {}, and problems that differ in one key
    (`vdbench.suite.sweeps`).
    """
    full = dict(content)
    if isinstance(full.get("problems"), list):
        full["problems"] = spread(where, full["problems"])
    for key in ("estimators", "checkpoints"):
        if isinstance(full.get(key), list):
            full[key] = [_long(where, key, item) for item in full[key]]
    if "reference" in full:
        full["reference"] = _long(where, "reference", full["reference"])
    if isinstance(full.get("published"), list):
        full["published"] = _exact(where, full)
    measures = full.get("measures")
    if isinstance(measures, dict):
        asked = {k: v for k, v in measures.items() if v is not False}
        full["measures"] = {k: {} if v is None or v is True else v for k, v in asked.items()}
    return full


def _long(where: str, key: str, item: Any) -> Any:
    if key == "checkpoints":
        if item == "initial":
            return {}
        if isinstance(item, str):
            raise InputError(f"{where}: checkpoint '{item}' is unknown. Did you mean 'initial'?")
        if isinstance(item, dict) and isinstance(item.get("estimator"), str):
            return {**item, "estimator": {"name": item["estimator"]}}
        return item
    return {"name": item} if isinstance(item, str) else item
