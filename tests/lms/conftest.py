"""A tiny labelled corpus, its tokenizer and an untrained model: enough to check everything that reads activations."""

from __future__ import annotations

import numpy as np
import pytest
from texts import code, prose

from superscope import lms
from superscope.lms import corpus
from superscope.lms.corpus import generated
from superscope.lms.corpus.generated import Document
from superscope.lms.corpus.tokenizer import Tokenizer
from superscope.lms.model.transformer import Shape


@pytest.fixture(scope="session")
def documents():
    """About 40 documents: novels, code, and generated segments."""
    rng = np.random.default_rng(0)
    made = [Document(prose(rng), "novel", "tales", f"tale {k}") for k in range(16)]
    made += [Document(code(rng), "python", "scripts", f"script {k}") for k in range(12)]
    return [*made, *generated.documents(9_000)]


@pytest.fixture(scope="session")
def tokenizer(documents):
    return Tokenizer.train([d.text for d in documents], 300)


@pytest.fixture(scope="session")
def split(documents, tokenizer):
    return corpus.tokenise(documents, tokenizer)


@pytest.fixture(scope="session")
def model(tokenizer):
    """One layer, 24 neurons, context of 32."""
    return lms.untrained(Shape(1, 16, 2, 24, 32, len(tokenizer)), tokenizer, seed=1)
