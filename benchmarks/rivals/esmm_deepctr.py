"""DeepCTR's own ESMM on Keras 2, in fp32, without its L2 term, which the paper's network has not."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # DeepCTR is not written for Keras 3
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf
from deepctr.feature_column import SparseFeat
from deepctr.models import ESMM
from worker import EMBEDDING, HIDDEN, LEARNING_RATE, read, serve, threads

tf.config.threading.set_intra_op_parallelism_threads(threads())
tf.config.threading.set_inter_op_parallelism_threads(threads())
data = read()
fields = [SparseFeat(f"f{i}", size, EMBEDDING) for i, size in enumerate(data.sizes)]
model = ESMM(fields, HIDDEN, l2_reg_embedding=0)
adam = tf.keras.optimizers.Adam(LEARNING_RATE)
model.compile(adam, loss=["binary_crossentropy", "binary_crossentropy"])
bce = tf.keras.losses.BinaryCrossentropy()


def as_it_comes(batch: int, rows: slice) -> None:
    x = {f"f{i}": data.ids[rows, i] for i in range(len(fields))}
    model.fit(x, [data.click[rows], data.conversion[rows]], batch_size=batch, epochs=1, verbose=0)


@tf.function(reduce_retracing=True)
def step(ids: tf.Tensor, click: tf.Tensor, conversion: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        ctr, ctcvr = model([ids[:, i : i + 1] for i in range(len(fields))], training=True)
        loss = bce(click[:, None], ctr) + bce(conversion[:, None], ctcvr)
    adam.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True))
    return loss


def plain_loop(batch: int, rows: slice) -> None:
    """All columns in one tensor, and no regularizers: with a strength of 0 they still make the gradients dense."""
    order = rows.start + np.random.default_rng(0).permutation(rows.stop - rows.start)
    for start in range(0, len(order), batch):
        which = order[start : start + batch]
        float(step(tf.constant(data.ids[which]), tf.constant(data.click[which]), tf.constant(data.conversion[which])))


serve({"as it comes": as_it_comes, "plain loop in fp32": plain_loop}, len(data.ids))
