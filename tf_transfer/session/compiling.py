"""Sets up how the networks of a session are compiled with XLA."""

import numpy as np

from tf_transfer.machine import compilations, xla
from tf_transfer.machine.strategy import from_chief


def set_up(session, classifier, precision: str) -> None:
    """Has a classifier compiled as `--xla` says; by `auto`, on a GPU, each of its functions where that saves time.

    Args:
        session: a `session.Session`; the decisions are printed and recorded in its run.
        classifier: with its strategy's variables.
        precision: of its computation.
    """
    mode = xla.resolve_xla(session.config.run.xla)
    classifier.xla = mode == "on"
    if mode != xla.AUTO:
        return

    def tell(record: dict) -> None:
        session.run.record("xla", **record)
        session.console.line(f"xla  {xla.words(record)}")

    def agree(choice: bool) -> bool:
        return bool(from_chief(session.strategy, np.array([choice], np.float32))[0])

    folder = compilations.folder_of(session.config.run.xla_cache)
    costs = xla.Costs(folder / compilations.COSTS if folder else None)
    facts = {"network": session.config.model.backbone, "input_size": session.input_size, "precision": precision}
    facts["replicas"] = session.strategy.num_replicas_in_sync
    layers = sum(1 for layer in classifier.backbone.layers if layer.weights)
    classifier.trials = xla.Trials(classifier, costs, facts, layers, tell, agree)
