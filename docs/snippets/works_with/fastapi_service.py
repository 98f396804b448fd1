"""A service whose threads share one model: fifty requests at the same time, the first one included."""

import asyncio
import time
from contextlib import asynccontextmanager

import httpx
import numpy as np
from fastapi import FastAPI
from sklearn.datasets import load_digits

import skbackprop

X, y = load_digits(return_X_y=True)
skbackprop.BackpropClassifier((64,), random_state=0).fit(X / 16, y).save("digits.safetensors")

models = {}


@asynccontextmanager
async def load(app):
    models["digits"] = skbackprop.load("digits.safetensors")
    models["digits"].predict_proba(np.zeros((1, 64)))  # loads the kernels, before the first request
    yield


app = FastAPI(lifespan=load)


@app.post("/predict")
def predict(pixels: list[list[float]]):  # without `async`: FastAPI calls it in a thread of its pool
    return models["digits"].predict_proba(np.asarray(pixels)).tolist()


async def requests():
    transport = httpx.ASGITransport(app)
    async with load(app), httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        start = time.perf_counter()
        asked = [client.post("/predict", json=(X[i : i + 1] / 16).tolist()) for i in range(50)]
        answers = await asyncio.gather(*asked)
        return [answer.json()[0] for answer in answers], time.perf_counter() - start


found, seconds = asyncio.run(requests())
expected = skbackprop.load("digits.safetensors").predict_proba(X[:50] / 16)
print("answers:", len(found), "to the bit those of one call:", np.array_equal(found, expected))
print(f"all of them took {1000 * seconds:.0f} ms")
