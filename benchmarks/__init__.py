"""Speed and memory of skbackprop, compared with other libraries that train and run the same network.

Run from the parent folder, in an environment with the libraries to compare with (missing ones are left out)::

    pip install torch jax skorch onnxruntime skl2onnx
    python -m benchmarks train                  # seconds per epoch, every workload and peer
    python -m benchmarks predict|search|cold|memory|scaling|threads
    python -m benchmarks options                # scores of every option of the estimators
    python -m benchmarks tables --threads 1     # real tables beside boosted trees, see benchmarks/tables.py
    python -m benchmarks gpu                    # on an NVIDIA GPU, see benchmarks/gpu.py
    python -m benchmarks table FILE             # a result file as a Markdown table
    python -m benchmarks plot FILE ...          # figures beside the result files

``--quick`` runs a benchmark with tiny sizes, to test its code; ``--help`` lists the other options.
"""
