"""Explain single predictions by SHAP values."""

import numpy as np
import shap
from sklearn.datasets import load_diabetes
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropRegressor

X, y = load_diabetes(return_X_y=True, as_frame=True)
network = BackpropRegressor(hidden_layer_sizes=(20,), standardize_target=True, alpha=1.0, random_state=0, max_iter=500)
model = make_pipeline(StandardScaler(), network).fit(X, y)

explainer = shap.Explainer(model.predict, X.sample(100, random_state=0), seed=0)
explained = explainer(X.head(20))
sums = explained.base_values + explained.values.sum(axis=1)
print("shape:", explained.values.shape)
print("values add up to the predictions:", np.allclose(sums, model.predict(X.head(20)), rtol=1e-6))
print("of most influence:", X.columns[np.abs(explained.values).mean(axis=0).argmax()])
