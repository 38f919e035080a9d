"""Processes that run one stage together, as torchrun starts them, and what they share.

Each draws its part of the episodes and scores its part of the rows; all know all episodes, and take
the same step. One that no launcher started is alone, and shares with nobody.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from progym.envs.errors import ProgymError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
_PATIENCE = timedelta(days=7)
"""How long a process waits for the others: one may be busy with a stage that it runs alone."""


@dataclass(frozen=True)
class Processes:
    """Where this process stands among those of its run; torch.distributed's names."""

    rank: int = 0
    world_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Give this process's part: neighbours, as many as any other's or one more or less."""
        start, stop = (len(items) * k // self.world_size for k in (self.rank, self.rank + 1))
        return items[start:stop]

    def collect(self, work: Callable[[], Sequence[T]]) -> list[T]:
        """Do one's part and give everybody's, in order; what one raises, all raise."""
        if self.world_size == 1:
            return list(work())
        found: Sequence[T] = ()
        failure: ProgymError | None = None
        try:
            found = work()
        except ProgymError as error:
            failure = error
        import torch.distributed

        parts: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(parts, (list(found), failure))
        for _, failed in parts:
            if failed is not None:
                raise failed
        return [item for part, _ in parts for item in part]

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Put everybody's sum in the place of each tensor; all have the same shapes and type."""
        if self.world_size == 1 or not tensors:
            return
        import torch
        import torch.distributed

        together = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(together)
        start = 0
        for tensor in tensors:
            tensor.copy_(together[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def first(self, work: Callable[[], T]) -> T:
        """Have the first process do something while the others wait; all get what it gives."""
        return self.collect(lambda: [work()] if self.leads else [])[0]


ALONE = Processes()


def launched_processes() -> int:
    """Count the processes that a launcher such as torchrun started, this one included."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@cache
def join_processes() -> Processes:
    """Meet the processes that a launcher such as torchrun started with this one."""
    world_size = launched_processes()
    if world_size == 1:
        return ALONE
    import torch
    import torch.distributed

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    torch.distributed.init_process_group(backend, timeout=_PATIENCE)
    # A group's threads that outlive the interpreter abort it: one exit in ten, with Gloo.
    atexit.register(torch.distributed.destroy_process_group)
    return Processes(torch.distributed.get_rank(), world_size)
