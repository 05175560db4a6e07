"""torch-rechub's own ESMM, without weight decay, and without batch normalisation, which it lets nobody leave out: the
paper's network has neither. The fields are split as Ali-CCP's: 13 common, 10 others.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch_loop import float_bce, fuse, plain_loops
from torch_rechub.basic.features import SparseFeature
from torch_rechub.models.multi_task import ESMM
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import DataGenerator
from worker import EMBEDDING, HIDDEN, LEARNING_RATE, read, serve, threads

USER = 13

torch.set_num_threads(threads())
data = read()
fields = [SparseFeature(f"f{i}", size, EMBEDDING) for i, size in enumerate(data.sizes)]
tower = {"dims": list(HIDDEN)}
model = ESMM(fields[:USER], fields[USER:], cvr_params=tower, ctr_params=tower)
for layers in (model.tower_cvr.mlp, model.tower_ctr.mlp):
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.BatchNorm1d):
            layers[i] = nn.Identity()
trainer = MTLTrainer(model, ["classification"] * 3, optimizer_params={"lr": LEARNING_RATE})


def as_it_comes(batch: int, rows: slice) -> None:
    fuse(trainer.optimizer, False)
    x = {f"f{i}": data.ids[rows, i] for i in range(len(fields))}
    y = np.stack([data.conversion[rows], data.click[rows], data.conversion[rows]], axis=1)
    none = ({name: ids[:0] for name, ids in x.items()}, y[:0])
    loader, _, _ = DataGenerator(x, y).generate_dataloader(*none, *none, batch_size=batch)
    trainer.train_one_epoch(loader)


def loss(ids: Tensor, click: Tensor, conversion: Tensor) -> Tensor:
    p = model({f"f{i}": ids[:, i] for i in range(len(fields))})
    return float_bce(p[:, 1], click) + float_bce(p[:, 2], conversion)


serve({"as it comes": as_it_comes, **plain_loops(loss, trainer.optimizer, data)}, len(data.ids))
