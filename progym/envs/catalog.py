"""The ids that progym registers with Gymnasium, a line each; importing this file registers them.

Entry points are strings: nothing is imported until `make`. A change of behaviour is a new version.
"""

from gymnasium import register  # pyright: ignore[reportUnknownVariableType]

IDS = {
    "Banking77-v0": "progym.envs.tasks.banking77:make_env",
    "HoVer4Hop-v0": "progym.envs.tasks.hover:make_env",
    "PAPILLON-v0": "progym.envs.tasks.papillon:make_env",
}

for _id, _entry_point in IDS.items():
    register(
        id=_id,
        entry_point=_entry_point,
        # The passive checker costs more than a step; the contract test runs the full one on each.
        disable_env_checker=True,
        vector_entry_point=f"progym.envs.vector:{_id}",
        kwargs={},
    )
