"""Makes docs/reliability.md: kills runs, spreads them over replicas and processes, and tells what is promised.

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
| **The same command goes on.** Killed at any instant, a run ends with the weights, records and predictions of the run that nobody disturbed, on CPUs to the bit. Training goes on from its last checkpoint (`--checkpoint_every=5m`, `500` steps, `off`), a feature pass from its last row, a head that is solved starts over from its features. | `tests/test_crash.py`, `tests/training/test_resume.py`; the table below |
| **A checkpoint is whole or not there.** Written beside its place, synced, renamed; its manifest has the digest of its arrays. A damaged one is named and passed over for the one before: two are kept, and the best weights. Nothing is unpickled. | `tests/test_checkpoints.py` |
| **A full disk costs nothing that was there.** The run ends with a line that says so; make room, and the same command goes on. | `tests/test_checkpoints.py`, `tests/test_faults.py` |
| **One writer.** A second command on a run directory is refused and told by whom; the lock of a process that has died is taken over. | `tests/test_run_lock.py` |
| **SIGTERM and SIGINT finish the step, or the validation, and save.** The process exits with 143 or 130; the same signal again leaves at once. | `tests/test_crash.py` |
| **Other options do not slip in.** A phase that was interrupted goes on with its own options only; those that differ are listed. More `--epochs` and another `--patience` are taken; schedule and validation then follow the new length. | `tests/test_crash.py` |
| **Numbers that go wrong stop the phase** with the step, the rate and the last good checkpoint; `--on_nan=rollback` goes back to it at half the rate, twice at most, and records it. | `tests/training/test_resume.py` |
| **Bad input is told in a line, and costs nothing.** Files cut short, empty, mislabelled or of more than 100 million pixels; paths that leave the folder of their CSV; class and file names that are markup, escapes of a terminal or no UTF-8; damaged weights and SavedModels. | `tests/test_hostile.py`, `tests/data/`, `tests/models/test_weights.py` |
| **Replicas and hosts compute what one device does**, at the same global batch, up to the rounding of float32. | the table below, `tests/test_workers.py` |
| **A worker that is lost ends the others** with a line and exit code 3, within `--worker_timeout`; all started again, the run goes on. | `tests/test_workers.py` |

Exit codes: 0 done, 1 an internal error, 2 bad input, 3 another worker lost, 130 SIGINT, 143 SIGTERM.

## Not promised

- To the bit on GPUs, whose sums have no fixed order; nor between machines, or versions of TensorFlow.
- With `--on_nan=rollback`, after a rollback: what it goes back to depends on what was saved before, and so on the clock and on
  interruptions.
- `lr_find` that is interrupted begins anew.
- That a TPU works: `--strategy=tpu` is there and untested.
- Batch statistics that are trained with `--accumulate` are those of a part of the batch, not of all of it.
- A file system that neither renames atomically nor keeps what was synced. On several hosts, one on which the others do not see
  at once what one has written: mount NFS with `lookupcache=positive`.
- What a power cut does to features under way (`*.partial` in the feature store): delete them after one.

## Several hosts

Every worker runs the same command on the same version of the package. The run directory, the data and, where it is a
file, `--weights` must be in a place that all of them see; the first worker alone writes and speaks.

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
    """Returns the page; a measurement that has not been made is left out."""
    return runner.page(_PROMISES, BENCHMARKS, records)


if __name__ == "__main__":
    runner.renew(__doc__, "reliability", BENCHMARKS, render)
