"""A pytest plugin: the default embedding model cannot be downloaded everywhere, so a deterministic stand-in takes its
place. Equal texts get equal vectors, different texts different ones; that is all the tests rely on."""
import hashlib

import numpy as np


def embed(texts):
    out = []
    for text in texts:
        seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "little")
        v = np.random.default_rng(seed).standard_normal(384).astype(np.float32)
        out.append(v / np.linalg.norm(v))
    return out


def pytest_configure(config):
    from chromadb.utils.embedding_functions import onnx_mini_lm_l6_v2 as onnx
    onnx.ONNXMiniLM_L6_V2.__init__ = lambda self, preferred_providers=None: None
    onnx.ONNXMiniLM_L6_V2.__call__ = lambda self, input: embed(input)
