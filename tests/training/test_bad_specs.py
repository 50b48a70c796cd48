"""Specs with arguments that are out of range or of the wrong type are told in one line, before any data is read."""

import pytest

from tf_transfer.config import Config, Training
from tf_transfer.errors import UserError
from tf_transfer.session.train import check_specs

BAD = {
    "optimizer": [
        ("adam", r"Unknown --optimizer 'adam'. Did you mean 'adamw'\? Known: adamw, lbfgs, sgd"),
        ("sgd(momentum=5)", r"--optimizer: sgd\(momentum\) must lie in \[0.0, 0.99999\], got 5"),
        ("sgd(weight_decay=-1)", r"sgd\(weight_decay\) must lie in \[0.0, 1.0\], got -1"),
        ("adamw(beta_2=1)", r"adamw\(beta_2\) must lie in"),
        ("adamw(beta_1=-0.1)", r"adamw\(beta_1\) must lie in"),
        ("adamw(epsilon=0)", r"adamw\(epsilon\) must lie in"),
        ("adamw(weight_decay=2)", r"adamw\(weight_decay\) must lie in"),
        ("lbfgs(iterations=0)", r"lbfgs\(iterations\) must be a number of 1 or more, got 0"),
    ],
    "method": [
        ("supervisd", r"Unknown --method 'supervisd'. Did you mean 'supervised'\?"),
        ("supervised(weight=1)", r"--method 'supervised': unexpected argument 'weight'. It takes: nothing"),
    ],
    "schedule": [
        ('step(at=("a", "b"))', r"--schedule: step\(at\) takes shares of the phase in \[0, 1\].*got \('a', 'b'\)"),
        ("step(at=(0.5, 30))", r"step\(at\) takes shares.*got \(0.5, 30\)"),
        ("step(factor=2)", r"--schedule: step\(factor\) must lie in \[0.0, 1.0\], got 2"),
        ("cosine(-1)", r"cosine\(final\) must lie in"),
        ("linear(final=3)", r"linear\(final\) must lie in"),
    ],
    "regularizer": [
        ("l2(-1)", r"--regularizer: l2\(strength\) must be a number of 0 or more, got -1"),
        ("l2sp(0.1, -2)", r"l2sp\(beta\) must be a number of 0 or more"),
        ("l2sp(alpha=-2)", r"l2sp\(alpha\) must be a number of 0 or more"),
        ("l2(weak)", r"--regularizer 'l2': expected a number for strength, got 'weak'"),
        ("l3", r"Unknown --regularizer 'l3'. Did you mean 'l2'\? Known: l2, .*l2sp, none"),
        ("l2(1, 2)", r"--regularizer 'l2'.* It takes: strength"),
        ("l2path(1, 2)", r"l2path\(weakest\) must lie in \[1e-12, 1\], got 2"),
        ("l2path(steps=0)", r"l2path\(steps\) must lie in"),
    ],
}


@pytest.mark.parametrize(
    ("option", "spec", "message"), [(option, *case) for option, cases in BAD.items() for case in cases]
)
def test_a_bad_spec_is_told(option, spec, message):
    with pytest.raises(UserError, match=message):
        check_specs(Config(training=Training(**{option: spec})))
