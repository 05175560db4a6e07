"""One training step: a method's loss on a batch, then Adam on the towers and on the embedding rows of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..batches.batch import Batch
from ..config import Config
from ..dataset.dataset import Dataset
from ..errors import ConfigError
from ..methods._method import Method
from ..network import Heads
from ..runs.build import build_network, fields_of
from ..runs.checkpoint import prefixed, unprefixed
from ..runs.run import Run
from .embedding_kernels import KernelLookups
from .optimizer.dense_adam import DenseAdam
from .optimizer.row_adam import RowAdam
from .start import start_from


class Learner:
    """A network and its optimizers, on the device and in the precision that the configuration names.

    With "bf16", torch's autocast rounds the factors of the hidden layers' products. Embeddings, logits, losses and
    Adam stay float32. "auto" must be resolved before.

    Args:
        start: a run whose weights training starts from. Absent: random weights from `seed`.

    Raises: ConfigError if the device is not available. RunError if `start` has another network or other fields.
    """

    def __init__(self, method: Method, dataset: Dataset, config: Config, seed: int, start: Run | None = None) -> None:
        training, adam = config.training, config.optimizer
        assert training.precision != "auto"
        self.method, self.device = method, training.device
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "training.device must be available",
                "cuda, but torch finds no GPU",
                do="Use device = cpu, or install a build of torch with CUDA",
            )
        network = build_network(method, dataset.layout, dataset.train.counts, config, seed)
        if start is not None:
            start_from(network, fields_of(method, dataset.layout, config), dataset, start)
        self.network = network.to(self.device)
        if self.device == "cpu":
            self.network.lookups = KernelLookups()
        options: dict[str, Any] = {"lr": adam.learning_rate, "betas": (adam.beta1, adam.beta2), "eps": adam.epsilon}
        self._towers = DenseAdam(self.network.parameters(), **options, weight_decay=adam.weight_decay)
        self._rows = {
            name: RowAdam(self.network.embedding(name).weight, **options, lazy=adam.lazy)
            for name in self.network.embeddings
        }
        self._cast = torch.autocast(self.device, torch.bfloat16, enabled=training.precision == "bf16")

    def step(self, batch: Batch) -> tuple[Tensor, Heads]:
        """One step of both optimizers. Returns the loss and the probabilities from before the step.

        Shape: loss float32 (), in nats for the built-in methods; each head (B,).
        """
        gathered = {name: rows.gather(batch.rows).requires_grad_() for name, rows in self._rows.items()}
        with self._cast:
            p = self.network(batch, gathered)
        loss = self.method.loss(p, batch)
        self._towers.zero_grad()
        loss.backward()
        self._towers.step()
        for name, rows in self._rows.items():
            grad = gathered[name].grad
            assert grad is not None
            rows.step(batch.rows, grad)
        return loss.detach(), p

    def loss(self, batch: Batch) -> float:
        """The method's loss on a batch, without a step. Call `finish` first, so that all rows are up to date."""
        with torch.inference_mode(), self._cast:
            p = self.network(batch)
        return self.method.loss(p, batch).item()

    def finish(self) -> None:
        """Bring all embedding rows up to date. Needed before anything except `step` reads the network."""
        for rows in self._rows.values():
            rows.finish()

    def state(self) -> dict[str, Tensor]:
        """Weights and the optimizers' state, for a checkpoint. The names of the weights begin with "network."."""
        tensors = prefixed("network.", self.network.state_dict())
        for name, rows in self._rows.items():
            tensors |= prefixed(f"rows.{name}.", rows.state())
        return tensors | prefixed("towers.", self._towers.state())

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the `state()` of another learner. Raises: ValueError as `RowAdam.load`."""
        self.network.load_state_dict(unprefixed("network.", tensors))
        for name, rows in self._rows.items():
            rows.load(unprefixed(f"rows.{name}.", tensors))
        self._towers.load(unprefixed("towers.", tensors))
