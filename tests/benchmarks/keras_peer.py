"""The same networks in Keras, in an interpreter of its own: ``pip install tensorflow-cpu`` there.

Not imported by the benchmarks, but run by the interpreter that ``KERAS_PYTHON`` names. It reads lines
of a name and a number of steps, and answers each with images per CPU-second, of one thread.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers

LATENT, WIDTH, UNITS = 100, 64, 128
Networks = tuple[keras.Model, keras.Model]


def mlp(dtype: str) -> Networks:
    """Networks of the article's listing."""

    def body() -> list[Any]:
        return [
            *(layers.Dense(UNITS, "relu", dtype=dtype), layers.BatchNormalization(dtype=dtype)),
            *(layers.Dense(UNITS, "relu", dtype=dtype), layers.BatchNormalization(dtype=dtype)),
        ]

    pixels = [layers.Dense(784, "tanh", dtype=dtype), layers.Reshape((28, 28, 1), dtype=dtype)]
    logit = layers.Dense(1, dtype=dtype)
    discriminator = [layers.Input((28, 28, 1)), layers.Flatten(dtype=dtype), *body(), logit]
    return (
        keras.Sequential([layers.Input((LATENT,)), *body(), *pixels]),
        keras.Sequential(discriminator),
    )


def dcgan(dtype: str) -> Networks:
    """Networks of PyTorch's DCGAN example at 32x32 pixels."""
    bare = {"padding": "same", "use_bias": False, "dtype": dtype}

    def up(features: int) -> list[Any]:
        layer = layers.Conv2DTranspose(features, 4, 2, **bare)
        return [layer, layers.BatchNormalization(dtype=dtype), layers.ReLU(dtype=dtype)]

    def down(features: int) -> list[Any]:
        layer = layers.Conv2D(features, 4, 2, **bare)
        return [layer, layers.BatchNormalization(dtype=dtype), layers.LeakyReLU(0.2, dtype=dtype)]

    first = layers.Conv2DTranspose(4 * WIDTH, 4, 1, "valid", use_bias=False, dtype=dtype)
    generator = [
        *(layers.Input((LATENT,)), layers.Reshape((1, 1, LATENT), dtype=dtype), first),
        *(layers.BatchNormalization(dtype=dtype), layers.ReLU(dtype=dtype)),
        *(*up(2 * WIDTH), *up(WIDTH)),
        layers.Conv2DTranspose(3, 4, 2, activation="tanh", **bare),
    ]
    discriminator = [
        *(layers.Input((32, 32, 3)), layers.Conv2D(WIDTH, 4, 2, **bare)),
        *(layers.LeakyReLU(0.2, dtype=dtype), *down(2 * WIDTH), *down(4 * WIDTH)),
        *(layers.Conv2D(1, 4, 1, "valid", use_bias=False, dtype=dtype), layers.Flatten()),
    ]
    return keras.Sequential(generator), keras.Sequential(discriminator)


def step_of(networks: Networks) -> Callable[[tf.Tensor], None]:
    """One update of both networks at once, as Keras' and TensorFlow's own tutorials have it."""
    generator, discriminator = networks
    optimizers = [keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in networks]
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    def step(real: tf.Tensor) -> None:
        with tf.GradientTape() as g, tf.GradientTape() as d:
            fake = generator(tf.random.normal((real.shape[0], LATENT)), training=True)
            logits = [discriminator(images, training=True) for images in (real, fake)]
            one, zero = tf.ones_like(logits[0]), tf.zeros_like(logits[1])
            loss_d = entropy(one, logits[0]) + entropy(zero, logits[1])
            loss_g = entropy(one, logits[1])
        for network, tape, loss, optimizer in zip(
            networks, (g, d), (loss_g, loss_d), optimizers, strict=True
        ):
            gradients = tape.gradient(loss, network.trainable_variables)
            optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))

    return step


def work(step: Callable[[tf.Tensor], None], shape: tuple[int, ...]) -> Callable[[int], float]:
    """Images per CPU-second of so many steps on batches of this shape."""
    batches = [tf.random.uniform(shape, -1, 1) for _ in range(8)]

    def run(steps: int) -> float:
        started = time.process_time()
        for number in range(steps):
            step(batches[number % len(batches)])
        return steps * shape[0] / (time.process_time() - started)

    return run


def works() -> dict[str, Callable[[int], float]]:
    """By name: network, batch, and how it is run."""
    found = {}
    for dtype in ("float32", "mixed_bfloat16"):
        step = tf.function(step_of(dcgan(dtype)))
        found[f"dcgan64 {dtype}"] = work(step, (64, 32, 32, 3))
        for batch in (128, 512):
            step = tf.function(step_of(mlp(dtype)))
            found[f"mlp{batch} {dtype}"] = work(step, (batch, 28, 28, 1))
    return found


def main() -> None:
    """Answer until there are no more questions."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    known = works()
    for line in sys.stdin:
        name, steps = line.rsplit(maxsplit=1)
        print(known[name](int(steps)), flush=True)


if __name__ == "__main__":
    main()
