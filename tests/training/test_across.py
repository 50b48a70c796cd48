"""Losses of the whole batch: on replicas they, and their gradients, are those of one device."""

import concurrent.futures
import json

import numpy as np
import pytest
import tensorflow as tf
import tools
from engine_tools import Simple, plan_of

from benchmarks import distributed
from tf_transfer.data.splits import Split
from tf_transfer.data.streams import Stream, Streams
from tf_transfer.errors import UserError
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.training import across
from tf_transfer.training.method import Losses, ParameterGroup
from tf_transfer.training.noise import Noise
from tf_transfer.training.step import Stepper

WIDTH, STEPS = 5, 3


def two_domains():
    """Labelled vectors, and others of another covariance without labels, in batches of 12 and 18."""
    random = np.random.default_rng(0)
    source = random.normal(size=(30, WIDTH)).astype(np.float32)
    target = (random.normal(size=(40, WIDTH)) @ random.normal(size=(WIDTH, WIDTH)) + 1).astype(np.float32)
    labelled = Split(source, random.integers(0, 3, 30, np.int32), [""] * 30)
    return Streams({"source": Stream(labelled, 12), "target": Stream(Split(target, None, [""] * 40), 18)}, 0)


def coral(a, b):
    """||cov(a) - cov(b)||^2 / (4 D^2) (Sun & Saenko 2016, arXiv:1607.01719)."""

    def covariance(x):
        x = x - tf.reduce_mean(x, 0)
        return tf.matmul(x, x, transpose_a=True) / (tf.cast(tf.shape(x)[0], tf.float32) - 1)

    return tf.reduce_sum(tf.square(covariance(a) - covariance(b))) / (4 * WIDTH**2)


class Coral(Simple):
    """Cross-entropy on one stream, and the distance between the covariances of both under a linear map."""

    of_batch = True

    def __init__(self, strategy):
        random = np.random.default_rng(1)
        with strategy.scope():
            self.map = tf.Variable(random.normal(size=(WIDTH, WIDTH)).astype(np.float32))
            self.head = tf.Variable(random.normal(size=(WIDTH, 3)).astype(np.float32))
        super().__init__(None, [ParameterGroup("head", [self.map, self.head])], [self.map, self.head])

    def loss(self, batch, noise, progress):
        a, b = (batch[name]["inputs"] @ self.map for name in ("source", "target"))
        distance = coral(across.gather(a), across.gather(b))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["source"]["label"], a @ self.head)
        return Losses(losses, distance, {"coral": distance, "norm": tf.norm(a, axis=1)})


def trained(strategy):
    """What three steps gave, and what they left; plain descent, so that weights tell gradients."""
    method, streams = Coral(strategy), two_domains()
    with strategy.scope():
        stepper = Stepper(method, plan_of(optimizer="sgd(momentum=0)"), streams.sizes, strategy)
    stream = streams.stream(strategy, 0, STEPS)
    told = [stepper(next(stream), 0.1, step) for step in range(STEPS)]
    return [(loss, measures["coral"], measures["norm"]) for loss, measures in told], [v.numpy() for v in method.state()]


def by_hand():
    """The same on one device without the engine: loss and gradients of the whole batches."""
    method, streams = Coral(make_strategy("one")), two_domains()
    told = []
    for step in range(STEPS):
        batch = streams.batch(step)
        with tf.GradientTape() as tape:
            a, b = (batch[name]["inputs"] @ method.map for name in ("source", "target"))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["source"]["label"], a @ method.head)
            loss = tf.reduce_mean(losses) + coral(a, b)
        told.append((float(loss), float(coral(a, b)), float(tf.reduce_mean(tf.norm(a, axis=1)))))
        for variable, gradient in zip(method.state(), tape.gradient(loss, method.state()), strict=True):
            variable.assign_sub(0.1 * gradient)
    return told, [v.numpy() for v in method.state()]


@pytest.mark.parametrize("replicas", ["one", "mirrored"])
def test_a_gathered_loss_is_that_of_the_whole_batch(replicas):
    found, expected = trained(make_strategy(replicas)), by_hand()
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-6)
    for value, truth in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(value, truth, rtol=0, atol=1e-6)


THREE = """
import json, sys
sys.path[:0] = sys.argv[1:]
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
import test_across
from tf_transfer.machine.strategy import make_strategy
strategy = make_strategy("mirrored")
assert strategy.num_replicas_in_sync == 3
told, left = test_across.trained(strategy)
print(json.dumps([told, [v.tolist() for v in left]]))
"""


def test_three_replicas_do_as_one_device(tmp_path):
    folders = [str(tools.ROOT), str(tools.ROOT / "tests"), str(tools.ROOT / "tests" / "training")]
    done = tools.python("-c", THREE, *folders, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told, left = json.loads(done.stdout.splitlines()[-1])
    expected = by_hand()
    np.testing.assert_allclose(told, expected[0], rtol=2e-6)
    for value, truth in zip(left, expected[1], strict=True):
        np.testing.assert_allclose(value, truth, rtol=0, atol=1e-6)


def test_a_loss_of_the_whole_batch_is_not_accumulated(one_device):
    with pytest.raises(UserError, match=r"--accumulate=2: this --method has a loss of the whole batch"):
        Stepper(Coral(one_device), plan_of(accumulate=2), {"source": 12, "target": 18}, one_device)


class Statistics(Simple):
    """Nothing trains: a running mean of the inputs moves, and a copy follows it after each step."""

    def __init__(self, strategy):
        with strategy.scope():
            self.mean, self.follower = tf.Variable(tf.zeros(WIDTH)), tf.Variable(tf.zeros(WIDTH))
        super().__init__(None, [], [self.mean, self.follower])

    def loss(self, batch, noise, progress):
        inputs = across.gather(batch["source"]["inputs"])
        self.mean.assign(0.5 * self.mean + 0.5 * tf.reduce_mean(inputs, 0))
        return Losses(tf.zeros_like(batch["source"]["weight"]), measures={"progress": progress})

    def after(self, step):
        self.follower.assign(0.9 * self.follower + 0.1 * self.mean)


def moved(strategy):
    """What four steps of `Statistics` gave and left."""
    method, streams = Statistics(strategy), two_domains()
    plan = plan_of(optimizer="adamw", clip_norm=1.0, ema=0.9)
    with strategy.scope():
        stepper = Stepper(method, plan, streams.sizes, strategy)
    stream = streams.stream(strategy, 0, 4)
    told = [stepper(next(stream), 0.1, step, step / 4) for step in range(4)]
    return [(loss, measures["progress"]) for loss, measures in told], [v.numpy() for v in method.state()]


def test_without_trainable_variables_statistics_move(strategy):
    told, (mean, follower) = moved(strategy)
    np.testing.assert_allclose(told, [(0, step / 4) for step in range(4)], rtol=1e-6)
    expected = following = np.zeros(WIDTH)
    for step in range(4):
        expected = 0.5 * expected + 0.5 * two_domains().batch(step)["source"]["inputs"].mean(0)
        following = 0.9 * following + 0.1 * expected
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    np.testing.assert_allclose(follower, following, atol=1e-6)


HOST = """
import json, sys
sys.path[:0] = sys.argv[1:]
from tf_transfer.machine.strategy import make_strategy
strategy = make_strategy("multiworker")
import test_across
found = [test_across.trained(strategy), test_across.moved(strategy)]
print(json.dumps([[told, [v.tolist() for v in left]] for told, left in found]))
"""


@pytest.mark.large
def test_two_hosts_do_as_one_device(tmp_path):
    """Real processes on loopback: a gathered loss, and a training in which nothing but statistics moves."""
    folders = [str(tools.ROOT), str(tools.ROOT / "tests"), str(tools.ROOT / "tests" / "training")]
    hosts = [f"127.0.0.1:{port}" for port in distributed.ports(2)]
    with concurrent.futures.ThreadPoolExecutor() as pool:

        def start(index):
            told = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
            return tools.python("-c", HOST, *folders, cwd=tmp_path, TF_CONFIG=json.dumps(told))

        done = list(pool.map(start, range(2)))
    expected = by_hand(), moved(make_strategy("one"))
    for each in done:
        assert each.returncode == 0, each.stderr
        for (told, left), (truth_told, truth_left) in zip(
            json.loads(each.stdout.splitlines()[-1]), expected, strict=True
        ):
            np.testing.assert_allclose(told, truth_told, rtol=2e-6)
            for value, truth in zip(left, truth_left, strict=True):
                np.testing.assert_allclose(value, truth, rtol=0, atol=1e-6)


def test_streams_draw_noise_of_their_own(one_device):
    drawn = []

    class Drawing(Statistics):
        def loss(self, batch, noise, progress):
            values = {name: noise[name].uniform((), 0) for name in batch}
            return Losses(values["source"], measures={name: tf.reduce_mean(v) for name, v in values.items()})

    streams = two_domains()
    stepper = Stepper(Drawing(one_device), plan_of(), streams.sizes, one_device)
    stream = streams.stream(one_device, 0, 2)
    drawn = [stepper(next(stream), 0.1, step)[1] for step in range(2)]
    assert len({round(v, 6) for told in drawn for v in told.values()}) == 4


def test_a_loss_of_the_batch_that_nobody_announced_is_an_error(one_device):
    class Silent(Coral):
        of_batch = False

    method, streams = Silent(one_device), two_domains()
    with one_device.scope():
        stepper = Stepper(method, plan_of(), streams.sizes, one_device)
    with pytest.raises(ValueError, match="Silent returns a loss of the batch, but has no of_batch"):
        stepper(next(streams.stream(one_device, 0, 1)), 0.1, 0)


def test_a_measure_of_another_stream_is_its_mean(strategy):
    class Measuring(Statistics):
        def loss(self, batch, noise, progress):
            return Losses(tf.zeros_like(batch["source"]["weight"]), measures={"other": batch["target"]["inputs"][:, 0]})

    streams = two_domains()
    with strategy.scope():
        stepper = Stepper(Measuring(strategy), plan_of(), streams.sizes, strategy)
    _, measures = stepper(next(streams.stream(strategy, 0, 1)), 0.1, 0)
    np.testing.assert_allclose(measures["other"], streams.batch(0)["target"]["inputs"][:, 0].mean(), rtol=1e-5)


def test_views_have_noise_of_their_own():
    noise = Noise(tf.constant([3, 4]), tf.range(5), 5)
    drawn = [noise.of_view(number).uniform((2,), 0).numpy() for number in range(3)]
    np.testing.assert_array_equal(drawn[0], noise.uniform((2,), 0))
    assert len(np.unique(drawn)) == 30
