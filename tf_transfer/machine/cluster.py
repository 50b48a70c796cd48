"""The place of this process among the workers of a run, from the environment, without TensorFlow."""

import json
import os
import re
from dataclasses import dataclass

from tf_transfer.errors import UserError, one_line

_EXAMPLE = '{"cluster": {"worker": ["host1:5000", "host2:5000"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """One worker of a run on several hosts.

    Attributes:
        index: number of this worker; worker 0 is the chief, which alone writes and prints.
        workers: number of workers.
    """

    index: int = 0
    workers: int = 1

    @property
    def chief(self) -> bool:
        """Whether this worker writes the run directory."""
        return self.index == 0


def is_multiworker(strategy: str) -> bool:
    """Says whether `--strategy` runs on workers that communicate; a cluster of one worker counts."""
    return strategy == "multiworker" or find(strategy).workers > 1


def find(strategy: str) -> Cluster:
    """Returns the place of this process among the workers of `--strategy`.

    `multiworker` takes it from TF_CONFIG, and without one from SLURM; `auto` from a TF_CONFIG of two workers or more.

    Raises:
        UserError: `multiworker` without either, or a TF_CONFIG without cluster and task.
    """
    text = os.environ.get("TF_CONFIG")
    if strategy == "auto" and text:
        found = _of_tf_config(text)
        return found if found.workers > 1 else Cluster()
    if strategy != "multiworker":
        return Cluster()
    if text:
        return _of_tf_config(text)
    if "SLURM_PROCID" in os.environ:
        tasks = os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS") or "1"
        return Cluster(int(os.environ["SLURM_PROCID"]), int(tasks))
    raise UserError(
        f"--strategy=multiworker: set TF_CONFIG for every worker, such as {_EXAMPLE}, or start it by srun under SLURM."
    )


def _of_tf_config(text: str) -> Cluster:
    try:
        return _placed(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        kind = "it is no JSON" if isinstance(e, json.JSONDecodeError) else "a part is missing or of another kind"
        reason = e if type(e) is ValueError else kind
        raise UserError(f"TF_CONFIG={one_line(text)!r}: {one_line(reason)}; expected such as {_EXAMPLE}.") from e


def _placed(config: dict) -> Cluster:
    jobs, kind, index = config["cluster"], config["task"]["type"], int(config["task"]["index"])
    if other := sorted(set(jobs) - {"chief", "worker"}):
        raise ValueError(f"of the jobs chief and worker alone are taken, not {', '.join(other)}")
    chiefs, workers = (list(jobs.get(job, [])) for job in ("chief", "worker"))
    for address in (*chiefs, *workers):
        if not re.fullmatch(r"\S+:\d{1,5}", address):
            raise ValueError(f"the address {address!r} is not HOST:PORT")
    places = {"chief": range(len(chiefs)), "worker": range(len(chiefs), len(chiefs) + len(workers))}
    if kind not in places or not 0 <= index < len(places[kind]):
        raise ValueError(
            f"this process is {kind} {index}, but there are {len(chiefs)} chiefs and {len(workers)} workers"
        )
    return Cluster(places[kind][index], len(chiefs) + len(workers))
