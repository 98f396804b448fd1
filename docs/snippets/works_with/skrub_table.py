"""A table of numbers, text, categories and dates, prepared by skrub."""

import numpy as np
import pandas as pd
import skrub
from sklearn.model_selection import cross_val_score

from skbackprop import BackpropRegressor

rng = np.random.default_rng(0)
table = pd.DataFrame(
    {
        "area": rng.uniform(30, 200, 1000),
        "street": [
            f"{name} {number}"
            for name, number in zip(rng.choice(["Main", "Park", "Lake"], 1000), range(1000), strict=True)
        ],
        "city": rng.choice(["Bonn", "Lyon", "Graz", None], 1000),
        "sold": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2000, 1000), "D"),
    }
)
years = (table["sold"] - table["sold"].min()).dt.days / 365
price = table["area"] * table["city"].map({"Bonn": 4.0, "Lyon": 5.0, "Graz": 3.5}).fillna(3) + 20 * years

network = BackpropRegressor(hidden_layer_sizes=(32,), standardize_target=True, early_stopping=True, random_state=0)
model = skrub.tabular_pipeline(network)
print("steps:", ", ".join(name for name, _ in model.steps))
print(f"R2: {cross_val_score(model, table, price, cv=3).mean():.2f}")
