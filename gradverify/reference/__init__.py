"""Backpropagation written to be read: layers, losses, networks, gradient descent, in NumPy alone.

Start with `explain` (one neuron, number by number), then `dense`, `activations`, `networks`, `training`.
Every layer is a record with ``init(rng) -> params``, ``forward(params, x) -> (y, pullback)`` and
``pushforward(params, x, dparams, dx) -> (y, dy)``; see `layer`.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> network = sequential(Dense(2, 8), Activation("tanh"), Dense(8, 2))
>>> x, labels = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])     # exclusive or
>>> params, history = train(network, network.init(rng), x, labels,
...                         loss=CrossEntropy(), optimizer=SGD(0.5), epochs=500)
>>> np.argmax(network.forward(params, x)[0], axis=1)
array([0, 1, 1, 0])
"""

from __future__ import annotations

from gradverify.reference.activations import Activation
from gradverify.reference.adaptive import Adam, AdamW, RMSprop
from gradverify.reference.attention import Attention, MultiHeadAttention
from gradverify.reference.chain import Explanation, Factor, Link, explain, explain_network
from gradverify.reference.clipping import Clipped, clip_global_norm, clip_norm, clip_value
from gradverify.reference.convolution import Conv, ConvTransposed
from gradverify.reference.ctc import CTC
from gradverify.reference.dense import Dense
from gradverify.reference.dropout import Dropout
from gradverify.reference.duals import hessian_product, push_pullback
from gradverify.reference.entropies import (
    KL,
    NLL,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    CrossEntropy,
)
from gradverify.reference.gated import GLU, Maxout, PReLU
from gradverify.reference.graphs import Add, Concatenate, Graph, Multiply, Node, Residual, scaled_by_depth
from gradverify.reference.initialisers import INITIALISERS
from gradverify.reference.layer import Layer, Loss
from gradverify.reference.losses import MAE, MSE, Cosine, Hinge, Huber, Poisson
from gradverify.reference.modes import advanced, evaluating
from gradverify.reference.networks import Network, Objective, sequential
from gradverify.reference.normalisation import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from gradverify.reference.optimizers import SGD, Momentum, Nesterov, Optimizer
from gradverify.reference.penalties import L1, L2, Penalty
from gradverify.reference.pooling import AveragePool, GlobalPool, MaxPool
from gradverify.reference.positions import LearnedPositions, RotaryPositions, SinusoidalPositions
from gradverify.reference.recurrent import GRU, LSTM, RNN
from gradverify.reference.reductions import Weighted
from gradverify.reference.schedules import CosineDecay, Exponential, InverseTime, Warmup
from gradverify.reference.shaping import Embedding, Flatten, Reshape
from gradverify.reference.softmax import LogSoftmax, Softmax
from gradverify.reference.training import EarlyStopping, History, Step, train

__all__ = [
    "CTC", "GLU", "GRU", "INITIALISERS", "KL", "L1", "L2", "LSTM", "MAE", "MSE", "NLL", "RNN", "SGD",
    "Activation", "Adam", "AdamW", "Add", "Attention", "AveragePool", "BatchNorm", "BinaryCrossEntropy",
    "CategoricalCrossEntropy", "Clipped", "Concatenate", "Conv", "ConvTransposed", "Cosine",
    "CosineDecay", "CrossEntropy", "Dense", "Dropout", "EarlyStopping", "Embedding", "Explanation",
    "Exponential", "Factor", "Flatten", "GlobalPool", "Graph", "GroupNorm", "Hinge", "History", "Huber",
    "InverseTime", "Layer", "LayerNorm", "LearnedPositions", "Link", "LogSoftmax", "Loss", "MaxPool",
    "Maxout", "Momentum", "MultiHeadAttention", "Multiply", "Nesterov", "Network", "Node", "Objective",
    "Optimizer", "PReLU", "Penalty", "Poisson", "RMSNorm", "RMSprop", "Reshape", "Residual",
    "RotaryPositions", "SinusoidalPositions", "Softmax", "Step", "Warmup", "Weighted", "advanced",
    "clip_global_norm", "clip_norm", "clip_value", "evaluating", "explain", "explain_network",
    "hessian_product", "push_pullback", "scaled_by_depth", "sequential", "train",
]
