"""Results that take longer than a chapter may: ``python -m vae_src.experiments NAME``.

Each run trains a model, measures it on the untouched test set, and writes its weights to
``vae_src/weights/NAME.safetensors`` and its record to ``book/results/NAME.json``: configuration, seed, data,
commit, versions, device, time and metrics with standard errors.
Run it again after an interruption and it goes on from its last checkpoint.
"""
