"""Write optimizer_reference.json: parameters after some updates, as PyTorch computes them, for test_optimizers.py.

Run it with PyTorch installed: ``python tests/data/make_optimizer_reference.py``. PyTorch has no Lion: that is computed here,
from the paper's Algorithm 2.
"""

import json
from pathlib import Path

import numpy as np
import torch

CHECKPOINTS = (1, 2, 5, 10, 50)
SHARE, L2 = 1 / 200, 3.0

# name, our settings, learning rate, whether the parameters are weights, PyTorch's class, its settings
CASES = [
    ("sgd", {}, 0.1, True, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"momentum": 0.5}, 0.02, True, torch.optim.SGD, {"momentum": 0.5, "nesterov": True}),
    ("sgd", {"nesterov": False}, 0.1, True, torch.optim.SGD, {"momentum": 0.9}),
    ("sgd", {"momentum": 0.0, "nesterov": False}, 0.1, False, torch.optim.SGD, {}),
    # Where epsilon stands makes no difference when it is negligible.
    ("adam", {"epsilon": 1e-18}, 0.01, True, torch.optim.Adam, {"eps": 1e-18}),
    (
        "adam",
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-18},
        0.1,
        False,
        torch.optim.Adam,
        {"betas": (0.5, 0.9), "eps": 1e-18},
    ),
    ("adamw", {}, 0.01, True, torch.optim.AdamW, {"weight_decay": 0.01}),
    ("adamw", {}, 0.01, False, torch.optim.AdamW, {"weight_decay": 0.0}),
    (
        "adamw",
        {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3, "weight_decay": 0.3},
        0.1,
        True,
        torch.optim.AdamW,
        {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    ),
    ("amsgrad", {}, 0.01, True, torch.optim.Adam, {"amsgrad": True}),
    (
        "amsgrad",
        {"beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-3},
        0.1,
        False,
        torch.optim.Adam,
        {"amsgrad": True, "betas": (0.5, 0.7), "eps": 1e-3},
    ),
    ("nadam", {}, 0.01, True, torch.optim.NAdam, {}),
    (
        "nadam",
        {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3, "momentum_decay": 0.1},
        0.1,
        False,
        torch.optim.NAdam,
        {"betas": (0.8, 0.95), "eps": 1e-3, "momentum_decay": 0.1},
    ),
    ("adamax", {}, 0.01, True, torch.optim.Adamax, {}),
    (
        "adamax",
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
        0.1,
        False,
        torch.optim.Adamax,
        {"betas": (0.5, 0.9), "eps": 1e-3},
    ),
    ("rmsprop", {}, 0.01, True, torch.optim.RMSprop, {}),
    ("rmsprop", {"rho": 0.9, "epsilon": 1e-3}, 0.1, False, torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-3}),
    ("rmsprop", {"momentum": 0.9}, 0.01, True, torch.optim.RMSprop, {"momentum": 0.9}),
    ("rmsprop", {"centered": True}, 0.01, True, torch.optim.RMSprop, {"centered": True}),
    (
        "rmsprop",
        {"rho": 0.9, "momentum": 0.5, "centered": True},
        0.01,
        False,
        torch.optim.RMSprop,
        {"alpha": 0.9, "momentum": 0.5, "centered": True},
    ),
    ("adagrad", {}, 0.1, True, torch.optim.Adagrad, {}),
    (
        "adagrad",
        {"epsilon": 1e-3, "initial_accumulator_value": 0.1},
        0.1,
        False,
        torch.optim.Adagrad,
        {"eps": 1e-3, "initial_accumulator_value": 0.1},
    ),
    ("adadelta", {}, 1.0, True, torch.optim.Adadelta, {}),
    ("adadelta", {"rho": 0.95, "epsilon": 1e-4}, 0.5, False, torch.optim.Adadelta, {"rho": 0.95, "eps": 1e-4}),
    ("lion", {}, 0.01, True, None, {"betas": (0.9, 0.99), "weight_decay": 0.0}),
    (
        "lion",
        {"beta_1": 0.5, "beta_2": 0.8, "weight_decay": 0.5},
        0.02,
        True,
        None,
        {"betas": (0.5, 0.8), "weight_decay": 0.5},
    ),
    (
        "lion",
        {"beta_1": 0.5, "beta_2": 0.8, "weight_decay": 0.5},
        0.02,
        False,
        None,
        {"betas": (0.5, 0.8), "weight_decay": 0.0},
    ),
]


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al. (2023)."""

    def __init__(self, params, lr, betas, weight_decay):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        """One update."""
        for group in self.param_groups:
            beta_1, beta_2 = group["betas"]
            for w in group["params"]:
                m = self.state[w].setdefault("m", torch.zeros_like(w))
                direction = torch.sign(beta_1 * m + (1 - beta_1) * w.grad)
                w.copy_(w - group["lr"] * (direction + group["weight_decay"] * w))
                m.copy_(beta_2 * m + (1 - beta_2) * w.grad)


def run(kind, rate, l2, settings, start, gradients):
    """Parameters at the checkpoints."""
    w = torch.tensor(start, dtype=torch.float64)
    optimizer = (kind or Lion)([w], lr=rate, **settings)
    states = []
    for step, gradient in enumerate(gradients, 1):
        w.grad = (torch.tensor(gradient, dtype=torch.float64) + l2 * w) * SHARE
        optimizer.step()
        if step in CHECKPOINTS:
            states.append(w.tolist())
    return states


def main():
    """Write the file."""
    # NAdam's running product, a number of its own, is otherwise kept in single precision beside parameters in double.
    torch.set_default_dtype(torch.float64)
    rng = np.random.default_rng(20)
    start = [1.5, -2.5, 0.7, 3.0, -1.2]
    # Of all sizes, changing and keeping their sign, rare, and none.
    gradients = rng.normal(size=(max(CHECKPOINTS), 5)) * [200.0, 2e4, 0.2, 200.0, 0.0] + [0.0, 2e4, 1.0, 0.0, 0.0]
    gradients[:, 3] *= rng.random(max(CHECKPOINTS)) < 0.2
    cases = []
    for name, settings, rate, is_weight, kind, torch_settings in CASES:
        l2 = L2 if is_weight else 0.0
        params = run(kind, rate, l2, torch_settings, start, gradients.tolist())
        cases.append(
            {"name": name, "settings": settings, "rate": rate, "l2": l2, "decays": float(is_weight), "params": params}
        )
    content = {
        "source": f"PyTorch {torch.__version__.split('+')[0]}, Lion from its paper; see make_optimizer_reference.py",
        "checkpoints": CHECKPOINTS,
        "share": SHARE,
        "start": start,
        "gradients": gradients.tolist(),
        "cases": cases,
    }
    Path(__file__).with_name("optimizer_reference.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
