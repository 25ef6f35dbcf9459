"""The checks as a table for pandas: one row a check."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradverify.records import Check
from gradverify.report.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

TEXT = ("target", "wrt", "output", "mode", "regime", "oracle", "dtype", "verdict", "reason", "worst", "cause",
        "detail")
WHOLE = ("order", "wrong_entries", "sampled_entries", "evaluations", "seed")
REAL = ("computed", "expected", "discrepancy", "bar", "resolution", "entrywise", "seconds")
COLUMNS = ("target", "wrt", "output", "order", "mode", "regime", "oracle", "dtype", "shape", "verdict",
           "reason", "computed", "expected", "discrepancy", "bar", "resolution", "entrywise", "worst",
           "cause", "wrong_entries", "sampled_entries", "detail", "evaluations", "seconds", "seed")


def checks_frame(checks: Sequence[Check]) -> pd.DataFrame:
    """One row a check, also of none; verdict and worst entry as text, the first cause by its name.

    `entrywise` is NaN where only the leaf as a whole was resolved. Text is as the target gave it.
    """
    import pandas as pd

    rows = [_row(check) for check in checks]
    columns = {name: pd.Series([row[name] for row in rows], dtype=_dtype(name)) for name in COLUMNS}
    return pd.DataFrame(columns)


def _dtype(column: str) -> str:
    if column in REAL:
        return "float64"
    return "int64" if column in WHOLE else "str" if column in TEXT else "object"


def _row(check: Check) -> dict[str, Any]:
    plain = {name: getattr(check, name) for name in COLUMNS if hasattr(check, name)}
    return {**plain, "verdict": str(check.verdict), "worst": str(check.worst or ""),
            "cause": check.causes[0].name if check.causes else "",
            "entrywise": float("nan") if check.entrywise is None else check.entrywise}


def write_table(checks: Sequence[Check], path: str | PathLike[str]) -> None:
    """Write the frame as CSV or Parquet, by the name's ending; ImportError where Parquet has no engine.

    In both a shape is text, ``3 x 4``: the one cell that neither format has a type for.
    """
    frame = checks_frame(checks)
    frame["shape"] = [" x ".join(map(str, shape)) for shape in frame["shape"]]
    ending = Path(path).suffix
    if ending == ".csv":
        write_whole(path, frame.to_csv(index=False, lineterminator="\n"))
    elif ending == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        raise ValueError(f"{path}: a table is written as .csv or .parquet")
