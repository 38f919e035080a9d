"""The paper's own table (arXiv 2508.04660), shown beside ours and not compared with it."""

from __future__ import annotations

from dataclasses import dataclass

CAPTION = (
    "The paper's table (arXiv 2508.04660): models of 8 billion parameters on the released data, "
    "mean ± standard deviation over 3 seeds, in percent. Other models, other data and another "
    "measure of spread: what was reported there, and no comparison with the numbers here."
)


@dataclass(frozen=True)
class PaperRow:
    """One row: mean and standard deviation by environment, as printed."""

    model: str
    strategy: str
    """In our words: `po` is MIPROv2, `po -> mmgrpo` is BetterTogether(PO, mmGRPO)."""
    scores: dict[str, tuple[float, float]]


def _row(
    model: str,
    strategy: str,
    banking: tuple[float, float],
    papillon: tuple[float, float],
    hover: tuple[float, float],
) -> PaperRow:
    scores = {"Banking77-v0": banking, "PAPILLON-v0": papillon, "HoVer4Hop-v0": hover}
    return PaperRow(model, strategy, scores)


_LLAMA, _QWEN = "llama3.1-8b-instruct", "qwen3-8b"

ROWS = (
    _row(_LLAMA, "vanilla", (58.4, 1.4), (76.2, 1.3), (59.5, 2.2)),
    _row(_LLAMA, "po", (59.4, 0.4), (83.9, 5.6), (63.4, 3.0)),
    _row(_LLAMA, "mmgrpo", (63.7, 3.2), (83.9, 0.5), (60.2, 1.2)),
    _row(_LLAMA, "po -> mmgrpo", (63.7, 2.6), (86.5, 5.0), (68.3, 2.7)),
    _row(_QWEN, "vanilla", (64.6, 1.2), (78.3, 0.9), (60.6, 0.6)),
    _row(_QWEN, "po", (65.9, 1.1), (78.1, 4.3), (69.3, 0.8)),
    _row(_QWEN, "mmgrpo", (64.9, 0.5), (83.3, 1.8), (71.0, 1.0)),
    _row(_QWEN, "po -> mmgrpo", (69.1, 1.8), (81.1, 4.1), (71.5, 1.5)),
)
