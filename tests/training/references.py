"""The equations of every cell in float64, gate by gate, step by step, for one sequence. Knows no torch.

Each function gets one layer's parameters by name, x [time, features] and the state before, and returns y
[time, width] and the state after. Stacked gates are split in the order of the equations.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Parameters = dict[str, Doubles]
State = tuple[Doubles, ...]
Reference = Callable[[Parameters, Doubles, State], tuple[Doubles, State]]


def sigmoid(z: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-z))


def lstm(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """The standard LSTM."""
    w_i, w_f, w_g, w_o = np.split(p["weight_ih"], 4)
    r_i, r_f, r_g, r_o = np.split(p["weight_hh"], 4)
    b_i, b_f, b_g, b_o = np.split(p["bias_ih"] + p["bias_hh"], 4)
    (h, c), y = state, []
    for x_t in x:
        i = sigmoid(w_i @ x_t + r_i @ h + b_i)
        f = sigmoid(w_f @ x_t + r_f @ h + b_f)
        o = sigmoid(w_o @ x_t + r_o @ h + b_o)
        g = np.tanh(w_g @ x_t + r_g @ h + b_g)
        c = f * c + i * g
        h = o * np.tanh(c)
        y.append(h)
    return np.stack(y), (h, c)


def gru(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """The GRU with the reset gate after the product."""
    w_r, w_z, w_n = np.split(p["weight_ih"], 3)
    r_r, r_z, r_n = np.split(p["weight_hh"], 3)
    b_r, b_z, b_n = np.split(p["bias_ih"], 3)
    c_r, c_z, c_n = np.split(p["bias_hh"], 3)
    (h,), y = state, []
    for x_t in x:
        r = sigmoid(w_r @ x_t + b_r + r_r @ h + c_r)
        z = sigmoid(w_z @ x_t + b_z + r_z @ h + c_z)
        n = np.tanh(w_n @ x_t + b_n + r * (r_n @ h + c_n))
        h = (1 - z) * n + z * h
        y.append(h)
    return np.stack(y), (h,)


def rnn(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """Elman's network."""
    (h,), y = state, []
    for x_t in x:
        h = np.tanh(p["weight_ih"] @ x_t + p["bias_ih"] + p["weight_hh"] @ h + p["bias_hh"])
        y.append(h)
    return np.stack(y), (h,)


def bidirectional(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """An LSTM from each end, both from zeros."""
    assert state == ()
    zeros = np.zeros(p["weight_hh"].shape[1])
    ahead, _ = lstm(p, x, (zeros, zeros))
    back = {name.removesuffix("_reverse"): value for name, value in p.items() if name.endswith("_reverse")}
    behind, _ = lstm(back, x[::-1], (zeros, zeros))
    return np.concatenate([ahead, behind[::-1]], axis=1), ()


def article(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """Six equations with full matrices on c, on the candidate too; the output gate sees the new c."""
    w_xi, w_xf, w_xc, w_xo = np.split(p["from_x.weight"], 4)
    b_i, b_f, b_c, b_o = np.split(p["from_x.bias"], 4)
    w_hi, w_hf, w_hc, w_ho = np.split(p["from_h.weight"], 4)
    w_ci, w_cf, w_cc = np.split(p["from_c.weight"], 3)
    w_co = p["out_from_c.weight"]
    (h, c), y = state, []
    for x_t in x:
        i = sigmoid(w_xi @ x_t + w_hi @ h + w_ci @ c + b_i)
        f = sigmoid(w_xf @ x_t + w_hf @ h + w_cf @ c + b_f)
        candidate = np.tanh(w_xc @ x_t + w_hc @ h + w_cc @ c + b_c)
        c = f * c + i * candidate
        o = sigmoid(w_xo @ x_t + w_ho @ h + w_co @ c + b_o)
        h = o * np.tanh(c)
        y.append(h)
    return np.stack(y), (h, c)


def peephole(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """Diagonal peepholes: the in and the forget gate see the old c, the out gate the new one."""
    w_i, w_f, w_g, w_o = np.split(p["from_x.weight"], 4)
    b_i, b_f, b_g, b_o = np.split(p["from_x.bias"], 4)
    r_i, r_f, r_g, r_o = np.split(p["from_h.weight"], 4)
    p_i, p_f, p_o = p["peepholes"]
    (h, c), y = state, []
    for x_t in x:
        i = sigmoid(w_i @ x_t + r_i @ h + np.diag(p_i) @ c + b_i)
        f = sigmoid(w_f @ x_t + r_f @ h + np.diag(p_f) @ c + b_f)
        g = np.tanh(w_g @ x_t + r_g @ h + b_g)
        c = f * c + i * g
        o = sigmoid(w_o @ x_t + r_o @ h + np.diag(p_o) @ c + b_o)
        h = o * np.tanh(c)
        y.append(h)
    return np.stack(y), (h, c)


def normalised(z: Doubles, gain: Doubles, bias: Doubles | float = 0.0) -> Doubles:
    centred = z - z.mean()
    spread = np.sqrt((centred**2).mean() + 1e-5)
    scaled: Doubles = gain * centred / spread + bias
    return scaled


def layer_norm(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """Layer normalisation of W x, of R h, and of the new c in the output."""
    (h, c), y = state, []
    for x_t in x:
        from_x = normalised(p["from_x.weight"] @ x_t, p["norm_x.weight"], p["norm_x.bias"])
        from_h = normalised(p["from_h.weight"] @ h, p["norm_h.weight"])
        i, f, g, o = np.split(from_x + from_h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(normalised(c, p["norm_c.weight"], p["norm_c.bias"]))
        y.append(h)
    return np.stack(y), (h, c)


def projected(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """A narrow h from a wide c."""
    w_i, w_f, w_g, w_o = np.split(p["weight_ih"], 4)
    r_i, r_f, r_g, r_o = np.split(p["weight_hh"], 4)
    b_i, b_f, b_g, b_o = np.split(p["bias_ih"] + p["bias_hh"], 4)
    (h, c), y = state, []
    for x_t in x:
        i = sigmoid(w_i @ x_t + r_i @ h + b_i)
        f = sigmoid(w_f @ x_t + r_f @ h + b_f)
        o = sigmoid(w_o @ x_t + r_o @ h + b_o)
        g = np.tanh(w_g @ x_t + r_g @ h + b_g)
        c = f * c + i * g
        h = p["weight_hr"] @ (o * np.tanh(c))
        y.append(h)
    return np.stack(y), (h, c)


def residual(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """The shortcut inside the cell: a matrix in the lowest layer, the identity above."""
    hidden = p["peepholes"].shape[1]
    gates = [hidden, 2 * hidden, 3 * hidden]  # the last is as wide as h
    w_i, w_f, w_g, w_o = np.split(p["from_x.weight"], gates)
    b_i, b_f, b_g, b_o = np.split(p["from_x.bias"], gates)
    r_i, r_f, r_g, r_o = np.split(p["from_h.weight"], gates)
    p_i, p_f = p["peepholes"]
    (h, c), y = state, []
    for x_t in x:
        i = sigmoid(w_i @ x_t + r_i @ h + p_i * c + b_i)
        f = sigmoid(w_f @ x_t + r_f @ h + p_f * c + b_f)
        g = np.tanh(w_g @ x_t + r_g @ h + b_g)
        c = f * c + i * g
        o = sigmoid(w_o @ x_t + r_o @ h + p["out_from_c.weight"] @ c + b_o)
        shortcut = p["shortcut.weight"] @ x_t if "shortcut.weight" in p else x_t
        h = o * (p["from_shown.weight"] @ np.tanh(c) + shortcut)
        y.append(h)
    return np.stack(y), (h, c)


def skip(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """The standard LSTM plus its input; the lowest layer, whose input has another width, adds nothing."""
    y, end = lstm(p, x, state)
    return (y + x if x.shape == y.shape else y), end


def min_gru(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """A gate of x alone."""
    w_z, w_h = np.split(p["from_x.weight"], 2)
    b_z, b_h = np.split(p["from_x.bias"], 2)
    (h,), y = state, []
    for x_t in x:
        z = sigmoid(w_z @ x_t + b_z)
        h = (1 - z) * h + z * (w_h @ x_t + b_h)
        y.append(h)
    return np.stack(y), (h,)


def min_lstm(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """Two gates of x alone, divided by their sum."""
    w_f, w_i, w_h = np.split(p["from_x.weight"], 3)
    b_f, b_i, b_h = np.split(p["from_x.bias"], 3)
    (h,), y = state, []
    for x_t in x:
        f, i = sigmoid(w_f @ x_t + b_f), sigmoid(w_i @ x_t + b_i)
        h = f / (f + i) * h + i / (f + i) * (w_h @ x_t + b_h)
        y.append(h)
    return np.stack(y), (h,)


def indrnn(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """One recurrent weight for each unit."""
    (h,), y = state, []
    for x_t in x:
        h = np.maximum(p["from_x.weight"] @ x_t + p["from_own"] * h + p["from_x.bias"], 0)
        y.append(h)
    return np.stack(y), (h,)


def sru(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """Gates see the old c; the shortcut is a matrix in the lowest layer, and scaled above."""
    hidden = p["bias"].shape[1]
    w_f, w_r, w, *shortcut = np.split(p["from_x.weight"], len(p["from_x.weight"]) // hidden)
    (v_f, v_r), (b_f, b_r) = p["from_own"], p["bias"]
    (c,), y = state, []
    for x_t in x:
        f = sigmoid(w_f @ x_t + v_f * c + b_f)
        r = sigmoid(w_r @ x_t + v_r * c + b_r)
        c = f * c + (1 - f) * (w @ x_t)
        y.append(r * c + (1 - r) * (shortcut[0] @ x_t if shortcut else np.sqrt(3) * x_t))
    return np.stack(y), (c,)


def qrnn(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """A window of this input and the last one, which is a state; the rest of that state stays."""
    w_z, w_f, w_o = np.split(p["from_x.weight"], 3)
    v_z, v_f, v_o = np.split(p["from_previous.weight"], 3)
    b_z, b_f, b_o = np.split(p["from_x.bias"], 3)
    c, stored = state
    previous, rest = np.split(stored, [x.shape[1]])
    y = []
    for x_t in x:
        z = np.tanh(w_z @ x_t + v_z @ previous + b_z)
        f = sigmoid(w_f @ x_t + v_f @ previous + b_f)
        o = sigmoid(w_o @ x_t + v_o @ previous + b_o)
        c = f * c + (1 - f) * z
        y.append(o * c)
        previous = x_t
    return np.stack(y), (c, np.concatenate([previous, rest]))


REFERENCES: dict[str, Reference] = {
    "article": article,
    "bidirectional": bidirectional,
    "gru": gru,
    "indrnn": indrnn,
    "layer_norm": layer_norm,
    "lstm": lstm,
    "min_gru": min_gru,
    "min_lstm": min_lstm,
    "peephole": peephole,
    "projected": projected,
    "qrnn": qrnn,
    "residual": residual,
    "rnn": rnn,
    "skip": skip,
    "sru": sru,
}
