"""The log of a phase in training: its records go to the run, the console, TensorBoard and the phase's history."""

from tf_transfer.run.tensorboard import Board
from tf_transfer.session.session import Session


class Log:
    """Called with the records of one phase, see `training.loop.fit` and `features.solver.solve`.

    Args:
        session: the command.
        phase: the phase.
        leg: name of one of several trainings between which validation chooses: its epochs are shown and kept in the
            history, but recorded only once it is chosen; its rollbacks are shown alone.

    Attributes:
        history: the epochs, in order.
    """

    def __init__(self, session: Session, phase: str, leg: str = ""):
        self.session, self.phase, self.leg, self.history = session, phase, leg, []
        self.board = Board(session.run.path / "tensorboard" / phase if session.run.writes else None)

    def __call__(self, record: dict) -> None:
        """Takes a record of an epoch, a rollback or a point of a path."""
        console = self.session.console
        if record["kind"] == "rollback":
            back = f"back to step {record['back_to_step']:,}, rates times {record['factor']:g}"
            record |= {"text": f"{self.phase} diverged: {record['what']} at step {record['step']:,}; {back}"}
            console.note(record["text"])
        else:
            self.history.append({k: v for k, v in record.items() if k != "kind"})
            show = console.epoch if record["kind"] == "epoch" else console.path
            show(f"{self.phase}, {self.leg}" if self.leg else self.phase, record)
        if not self.leg:
            self._record(record)

    def record_history(self) -> None:
        """Records the epochs of a leg that was chosen."""
        for row in self.history:
            self._record({"kind": "epoch", **row})

    def _record(self, record: dict) -> None:
        self.session.run.record(**record, phase=self.phase)
        if record["kind"] == "epoch":
            self.board.epoch(record)
