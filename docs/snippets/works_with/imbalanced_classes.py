"""Draw rows of rare classes anew, in the training rows only; beside it, class weights."""

from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from sklearn.datasets import make_classification
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from skbackprop import BackpropClassifier

X, y = make_classification(3000, n_features=12, weights=[0.95], random_state=0)
network = BackpropClassifier((16,), early_stopping=True, random_state=0)
models = {
    "as it is": make_pipeline(StandardScaler(), network),
    "SMOTE": make_pipeline(StandardScaler(), SMOTE(random_state=0), network),
    "class_weight": make_pipeline(
        StandardScaler(),
        BackpropClassifier((16,), class_weight="balanced", early_stopping=True, random_state=0),
    ),
}
for name, model in models.items():
    scores = cross_val_score(model, X, y, cv=5, scoring="balanced_accuracy")
    print(f"{name}: balanced accuracy {scores.mean():.2f}")
