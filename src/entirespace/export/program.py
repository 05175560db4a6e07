"""The program of a run: encoded requests and candidates -> pctr, pcvr and pctcvr, calibrated, as one torch module."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import BundleError
from ..network import Ensemble, Heads, Network
from ..network.probability import value_of
from ..runs.outputs import Outputs
from ..runs.run import Run
from ..serving.inputs import OUTPUTS, REQUEST_OF, ProgramInputs
from .calibrators import ProgramCalibration
from .fields import ProgramFields, Reading, Tensors


class ScoringProgram(nn.Module):
    """All that stands between encoded rows and the predictions of a run: networks, calibrators, products.

    Args:
        run: an ensemble, too. If its method has no pCTR, the reference CTR network is in the program.
        inputs: what the program reads.

    Raises: BundleError if the method predicts no pCVR, or for a calibrator that cannot be in a program. RunError if the
    run needs a reference CTR network and has none.
    """

    def __init__(self, run: Run, inputs: ProgramInputs) -> None:
        super().__init__()
        if "pcvr" not in run.method.predicts:
            do = "It is part of the bundles of the runs that it is the reference of"
            raise BundleError("the run's method must predict pCVR", f"{run.method.label} does not", do=do)
        self._calibration = ProgramCalibration.like(run.calibration)
        self._names = tuple(each.name for each in inputs.listed())
        self.own = _Part(run, inputs)
        self.reference = None if "pctr" in run.method.predicts else _Part(run.needed_reference(), inputs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Shape: the inputs, in their order -> float32 (N,) each, in the order of OUTPUTS."""
        given = dict(zip(self._names, tensors, strict=True))
        outputs = Outputs(self.own(given))
        if self.reference is not None:
            outputs = outputs.beside(self.reference(given)["pctr"])
        outputs = self._calibration.apply(outputs)
        return tuple(getattr(outputs, name) for name in OUTPUTS)


class _Part(nn.Module):
    """The network of one run, an ensemble or not, and how its method reads the heads."""

    def __init__(self, run: Run, inputs: ProgramInputs) -> None:
        super().__init__()
        self.network, self._method = run.network, run.method
        self._reading = Reading.of(run.chosen, inputs)

    def forward(self, tensors: Tensors) -> dict[str, Any]:
        """The method's own predictions, uncalibrated. Shape: float32 (N,) each."""
        network = self.network
        placed, numbers = self._reading.placed(tensors), self._reading.numbers(tensors)

        def heads_of(network: Network) -> Heads:
            weights = {name: network.embedding(name).weight for name in network.embeddings}
            fields = {name: ProgramFields(weight, placed, tensors.get(REQUEST_OF)) for name, weight in weights.items()}
            return network.heads_of(fields, numbers)

        if isinstance(network, Ensemble):
            members = [member for member in network.members if isinstance(member, Network)]
            heads = network.average([heads_of(member) for member in members])
        else:
            heads = heads_of(network)
        return {name: value_of(p).float() for name, p in self._method.predict(heads).items()}
