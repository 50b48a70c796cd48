"""The one engine: loop, step, the contracts of a method and a problem, optimizers, schedules, regularizers."""
