"""deepctr-torch's own ESMM, without its L2 terms, which the paper's network has not."""

import torch
from deepctr_torch.inputs import SparseFeat
from deepctr_torch.models.multitask.esmm import ESMM
from torch import Tensor
from torch_loop import float_bce, fuse, plain_loops
from worker import EMBEDDING, HIDDEN, LEARNING_RATE, read, serve, threads

torch.set_num_threads(threads())
data = read()
fields = [SparseFeat(f"f{i}", size, EMBEDDING) for i, size in enumerate(data.sizes)]
model = ESMM(fields, HIDDEN, l2_reg_linear=0, l2_reg_embedding=0)
adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
model.compile(adam, loss=["binary_crossentropy", "binary_crossentropy"])


def as_it_comes(batch: int, rows: slice) -> None:
    fuse(adam, False)
    x = {f"f{i}": data.ids[rows, i] for i in range(len(fields))}
    y = torch.stack([torch.from_numpy(data.click[rows]), torch.from_numpy(data.conversion[rows])], dim=1).numpy()
    model.fit(x, y, batch_size=batch, epochs=1, verbose=0)


def loss(ids: Tensor, click: Tensor, conversion: Tensor) -> Tensor:
    p = model(ids.float())
    return float_bce(p[:, 0], click) + float_bce(p[:, 1], conversion)


serve({"as it comes": as_it_comes, **plain_loops(loss, adam, data)}, len(data.ids))
