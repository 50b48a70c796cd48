"""Decodes picture files row by row inside a SavedModel: a bad file gets a status, the others their pixels."""

import tensorflow as tf

from tf_transfer.modalities.image import orientation, pixels, preprocessing
from tf_transfer.modalities.image.limits import NO_PICTURE
from tf_transfer.serving.inputs import DAMAGED, OK

# Files decoded at a time: each may take 1.5 GB, see `limits.MAX_PIXELS`.
_PARALLEL = 4


def decode(contents: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes files and resizes them as training did; a bad file does not affect the others.

    A failing operation ends the whole call, except inside a tf.data pipeline that ignores errors. Starting a pipeline
    takes some milliseconds, more for a larger function: so there is one for each kind of file that occurs.

    Args:
        contents: string `[N]`.
        size: side of the result in pixels.

    Returns:
        uint8 `[N, size, size, 3]`, black for a bad file, and the status, string `[N]`: `ok`, or the reason.
    """
    head = pixels.start(contents)
    images = tf.zeros((tf.size(contents), size, size, 3), tf.uint8)
    status = tf.fill([tf.size(contents)], NO_PICTURE)
    for form in pixels.FORMATS:
        # The first format that matches, as in `pixels.decode`: marks of one format may occur in a comment of another.
        rows = tf.where(form.matches(head) & (status == NO_PICTURE))
        images, status = tf.cond(
            tf.size(rows) > 0,
            lambda form=form, rows=rows, state=(images, status): _decode(form, contents, rows, size, *state),
            lambda state=(images, status): state,
        )
    return images, tf.where(status == NO_PICTURE, pixels.no_picture(head), status)


def _decode(form: pixels.Format, contents, rows, size: int, images, status):
    """Decodes the files of one kind into their places."""
    # Orientations outside of the pipeline: inside, their loops would take longer to start than to run.
    turns = tf.scatter_nd(rows, form.orientations(tf.gather_nd(contents, rows)), tf.shape(status, tf.int64))

    def read(row, content, turn):
        return row, tf.cast(preprocessing.resize(orientation.upright(form.decode(content), turn), size), tf.uint8)

    empty = tf.zeros((0, 1), tf.int64), tf.zeros((0, size, size, 3), tf.uint8)
    good, decoded = _answers(read, (contents, turns), rows, empty)
    status = _set(status, rows, DAMAGED)
    status = _set(status, good, OK)
    images = tf.tensor_scatter_nd_update(images, good, decoded)
    # Only if some failed, find out why.
    bad = tf.boolean_mask(rows, tf.gather_nd(status, rows) != OK)
    return images, tf.cond(tf.size(bad) > 0, lambda: _explain(form, contents, bad, status), lambda: status)


def _explain(form: pixels.Format, contents, rows, status):
    empty = tf.zeros((0, 1), tf.int64), tf.zeros((0,), tf.string)
    asked, reasons = _answers(lambda row, content: (row, form.refused(content)), (contents,), rows, empty)
    refused = reasons != ""
    return tf.tensor_scatter_nd_update(status, tf.boolean_mask(asked, refused), tf.boolean_mask(reasons, refused))


def _answers(function, values, rows, empty):
    """Maps each row and its values to tensors, in parallel; returns the successful ones, stacked."""
    options = tf.data.Options()
    # Autotuning and optimising a pipeline this short would take longer than running it.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    files = tf.data.Dataset.from_tensor_slices((rows, *(tf.gather_nd(value, rows) for value in values)))
    answers = files.map(function, num_parallel_calls=_PARALLEL, deterministic=False).ignore_errors()
    whole = answers.batch(tf.shape(rows, tf.int64)[0]).with_options(options)
    return whole.reduce(empty, lambda _, batch: batch)


def _set(values, rows, text: str):
    return tf.tensor_scatter_nd_update(values, rows, tf.fill([tf.shape(rows)[0]], text))
