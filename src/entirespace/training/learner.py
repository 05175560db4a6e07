"""One step of learning: a method's loss on a batch, Adam on the towers and on the embedding rows it touched."""

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
from ..runs.checkpoint import prefixed, unprefixed
from ..runs.run import Run, build_network
from .embedding_kernels import KernelLookups
from .optimizer.row_adam import RowAdam
from .start import start_from


class Learner:
    """A network and its optimizers, on the device and in the precision that the configuration names.

    Precision is put on from outside: under "bf16" torch's autocast rounds what the hidden layers multiply; embeddings,
    logits, losses and all of Adam stay float32.

    start: a run whose weights training starts from, instead of fresh ones.
    Raises: ConfigError where the device is not there; RunError where `start` is of another shape.
    """

    def __init__(self, method: Method, dataset: Dataset, config: Config, seed: int, start: Run | None = None) -> None:
        training, adam = config.training, config.optimizer
        self.method, self.device = method, training.device
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                "training.device must be there",
                "cuda, where torch finds no GPU",
                do="Take device = cpu, or install a build of torch with CUDA",
            )
        network = build_network(method, dataset.layout, dataset.train.counts, config, seed)
        if start is not None:
            start_from(network, dataset, start)
        self.network = network.to(self.device)
        if self.device == "cpu":
            self.network.lookups = KernelLookups()
        options: dict[str, Any] = {"lr": adam.learning_rate, "betas": (adam.beta1, adam.beta2), "eps": adam.epsilon}
        self._towers = torch.optim.Adam(self.network.parameters(), **options, fused=True)
        self._rows = {
            name: RowAdam(self.network.embedding(name).weight, **options, lazy=adam.lazy)
            for name in self.network.embeddings
        }
        self._cast = torch.autocast(self.device, torch.bfloat16, enabled=training.precision == "bf16")

    def step(self, batch: Batch) -> tuple[Tensor, Heads]:
        """One step of both optimizers; the batch's loss and probabilities before it. Shape: loss ()."""
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
        """The method's loss on a batch, in nats, without a step. The rows must be up to date: `finish`."""
        with torch.inference_mode(), self._cast:
            p = self.network(batch)
        return self.method.loss(p, batch).item()

    def finish(self) -> None:
        """Bring all embedding rows up to date: before anything but `step` reads the network."""
        for rows in self._rows.values():
            rows.finish()

    def state(self) -> dict[str, Tensor]:
        """Weights and the optimizers' state, for a checkpoint; those of the weights begin with "network."."""
        tensors = prefixed("network.", self.network.state_dict())
        for name, rows in self._rows.items():
            tensors |= prefixed(f"rows.{name}.", rows.state())
        for i, state in self._towers.state_dict()["state"].items():
            tensors |= prefixed(f"towers.{i}.", state)
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from another learner's `state()`."""
        self.network.load_state_dict(unprefixed("network.", tensors))
        for name, rows in self._rows.items():
            rows.load(unprefixed(f"rows.{name}.", tensors))
        state = self._towers.state_dict()
        for i in range(len(state["param_groups"][0]["params"])):
            state["state"][i] = unprefixed(f"towers.{i}.", tensors)
        self._towers.load_state_dict(state)
