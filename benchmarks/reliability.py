"""Writes docs/reliability.md: the promises, and measurements that kill runs and spread them over replicas and hosts.

python -m benchmarks.reliability [--only=crash,distributed,rounding,faults]
"""

from collections.abc import Mapping

from benchmarks import crash, distributed, faults, rounding, runner

BENCHMARKS = runner.by_name(crash, distributed, rounding, faults)

_PROMISES = """# What a run survives

Written by `python -m benchmarks.reliability` from `docs/reliability.json`; not edited by hand.

## Promised, and how it is tested

| promise | test |
|---|---|
| **The same command resumes a run.** You may kill a run at any instant: resumed, it ends with the weights, records and predictions of a run that was never disturbed, on CPUs to the bit. Training resumes from its last checkpoint (`--checkpoint_every=5m`, `500` steps, `off`), a feature pass from its last row; a solved head is solved again from its features; where validation chooses between two trainings, each has checkpoints of its own. | `tests/test_crash.py`, `tests/training/test_resume.py`, `tests/session/test_race.py`; the table below |
| **A checkpoint is complete or absent.** It is written beside its place, synced, renamed; its manifest has the digests of its files. A damaged checkpoint is reported, and the one before it is used: two are kept, and the best weights. Nothing is unpickled. | `tests/run/test_checkpoints.py` |
| **A full disk destroys nothing.** The run ends with a line that says so; make room, and the same command resumes it. | `tests/run/test_checkpoints.py`, `tests/test_faults.py` |
| **One process writes a run.** A second command on its directory is refused, and the message names the process that holds the lock. The lock ends with its process. | `tests/run/test_lock.py` |
| **SIGTERM and SIGINT finish the step, or the validation, and save.** The process exits with 143 or 130; the same signal again leaves at once. | `tests/test_crash.py` |
| **Options do not change unnoticed.** An interrupted phase resumes with its own options only; the message lists those that differ. Only more `--epochs` and another `--patience` are accepted; schedule and validation then follow the new length. | `tests/test_crash.py` |
| **Divergence stops the phase**, and the message has the step, the rate and the last good checkpoint. `--on_nan=rollback` returns to that checkpoint at half the rate, at most twice, and records it. | `tests/training/test_resume.py` |
| **Bad input gives an error of one line, and destroys nothing.** Files that are cut short, empty, mislabelled or of more than 100 million pixels; paths that leave the folder of their CSV; class and file names that are markup, terminal escapes or not UTF-8; damaged weights and SavedModels. | `tests/test_hostile.py`, `tests/data/`, `tests/models/test_weights.py` |
| **Replicas and hosts compute what one device does**, at the same global batch, up to the rounding of float32. | the table below, `tests/test_workers.py` |
| **A lost worker ends the others** with a line and exit code 3, within `--worker_timeout`; start all of them again to resume the run. | `tests/test_workers.py` |

Exit codes: 0 success, 1 internal error, 2 bad input, 3 another worker lost, 130 SIGINT, 143 SIGTERM.

## Not promised

- Equality to the bit on GPUs, whose sums have no fixed order, between machines, or between versions of TensorFlow.
- Equality to the bit after a rollback of `--on_nan=rollback`: its checkpoint depends on the clock and on interruptions.
- Resuming `lr_find`: it begins again.
- TPUs: `--strategy=tpu` is implemented and untested.
- Batch statistics of the whole batch under `--accumulate`: they are of one part of it.
- File systems that do not rename atomically or lose synced data; and for several hosts, file systems on which a host does not
  see at once what another has written: mount NFS with `lookupcache=positive`.
- Unfinished features (`*.partial` in the feature store) after a power cut: delete them.

## Several hosts

Every worker runs the same command on the same version of the package. The run directory, the data and, where it is a
file, `--weights` must be in a place that all workers can read; only the first worker writes and prints.

```
# by hand, on each host with its own index
export TF_CONFIG='{"cluster": {"worker": ["host1:5000", "host2:5000"]}, "task": {"type": "worker", "index": 0}}'
python run.py --phase=all --strategy=multiworker --run_dir=/shared/runs/mine

# SLURM
srun --nodes=2 --ntasks-per-node=1 python run.py --phase=all --strategy=multiworker --run_dir=/shared/runs/mine
```

```yaml
# Kubernetes: one pod an index, a headless service for their names
apiVersion: v1
kind: Service
metadata: {name: transfer}
spec: {clusterIP: None, selector: {job-name: transfer}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: transfer}
spec:
  completions: 2
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      subdomain: transfer
      restartPolicy: OnFailure
      containers:
        - name: worker
          image: your-image
          command: [sh, -c]
          args:
            - |
              export TF_CONFIG="{\\"cluster\\": {\\"worker\\": [\\"transfer-0.transfer:5000\\", \\"transfer-1.transfer:5000\\"]},
                \\"task\\": {\\"type\\": \\"worker\\", \\"index\\": $JOB_COMPLETION_INDEX}}"
              python run.py --phase=all --strategy=multiworker --run_dir=/shared/runs/mine
          volumeMounts: [{name: shared, mountPath: /shared}]
      volumes:
        - name: shared
          persistentVolumeClaim: {claimName: shared}
```
"""  # noqa: E501


def render(records: Mapping) -> str:
    """Returns the page, with the measurements that have been made."""
    return runner.page(_PROMISES, BENCHMARKS, records)


if __name__ == "__main__":
    runner.renew(__doc__, "reliability", BENCHMARKS, render)
