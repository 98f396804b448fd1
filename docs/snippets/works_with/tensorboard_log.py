"""Write the values of each epoch for TensorBoard; Weights & Biases takes ``EpochLogger(wandb.log)``."""

from pathlib import Path

from sklearn.datasets import load_digits
from tensorboardX import SummaryWriter

from skbackprop import BackpropClassifier
from skbackprop.callbacks import EpochLogger

X, y = load_digits(return_X_y=True)
with SummaryWriter("runs/digits") as writer:

    def log(metrics, step):
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    names = ["loss", "validation_loss", "validation_score", "learning_rate"]
    model = BackpropClassifier((30,), early_stopping=True, random_state=0)
    model.set_callbacks(EpochLogger(log, names=names)).fit(X / 16, y)

print("files:", len(list(Path("runs/digits").glob("events.*"))), "for", model.n_iter_, "epochs")
