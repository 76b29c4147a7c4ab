"""Like `references`, the equations of the cells with exponential gates, matrix memories, or a time."""

import numpy as np

from tests.training.references import Doubles, Parameters, Reference, State, normalised, sigmoid


def about_log_sigmoid(z: Doubles) -> Doubles:
    """The logarithm by its first Padé approximant, as the stabiliser has it."""
    u = np.exp(-np.abs(z))
    approximate: Doubles = np.minimum(z, 0) - 2 * u / (2 + u)
    return approximate


def slstm(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """Exponential gating, computed without the stabiliser: c and n are those of the state times exp(m)."""
    w_i, w_f, w_z, w_o = np.split(p["from_x.weight"], 4)
    b_i, b_f, b_z, b_o = np.split(p["from_x.bias"], 4)
    r_i, r_f, r_z, r_o = np.split(p["from_h.weight"], 4)
    h, c, n, m = state
    c, n, y = c * np.exp(m), n * np.exp(m), []
    for x_t in x:
        log_i = w_i @ x_t + r_i @ h + b_i
        before_f = w_f @ x_t + r_f @ h + b_f
        f = sigmoid(before_f)
        z = np.tanh(w_z @ x_t + r_z @ h + b_z)
        o = sigmoid(w_o @ x_t + r_o @ h + b_o)
        m = np.where(n == 0, log_i, np.maximum(m + about_log_sigmoid(before_f), log_i))
        c = f * c + np.exp(log_i) * z
        n = f * n + np.exp(log_i)
        h = o * c / n
        y.append(h)
    return np.stack(y), (h, c / np.exp(m), n / np.exp(m), m)


def mlstm(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """A matrix for each head, computed without the stabiliser, as in `slstm`."""
    heads, hidden = len(state[2]), len(state[1])
    width = hidden // heads
    ends = np.cumsum([hidden] * 4 + [heads])
    w_q, w_k, w_v, w_o, w_i, w_f = np.split(p["from_x.weight"], ends)
    b_q, b_k, b_v, b_o, b_i, b_f = np.split(p["from_x.bias"], ends)
    c, n, m = state
    c, n = c.reshape(heads, width, width), n.reshape(heads, width)
    y, ends_c, ends_n, ends_m = np.empty((len(x), hidden)), [], [], []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        memory, keys, m_t = c[head] * np.exp(m[head]), n[head] * np.exp(m[head]), m[head]
        for t, x_t in enumerate(x):
            q = w_q[own] @ x_t + b_q[own]
            k = (w_k[own] @ x_t + b_k[own]) / np.sqrt(width)
            v = w_v[own] @ x_t + b_v[own]
            o = sigmoid(w_o[own] @ x_t + b_o[own])
            log_i = w_i[head] @ x_t + b_i[head]
            before_f = w_f[head] @ x_t + b_f[head]
            f = sigmoid(before_f)
            memory = f * memory + np.exp(log_i) * np.outer(v, k)
            keys = f * keys + np.exp(log_i) * k
            m_t = max(m_t + about_log_sigmoid(before_f), log_i)
            y[t, own] = o * (memory @ q) / max(abs(keys @ q), 1)
        ends_c.append(memory.ravel() / np.exp(m_t))
        ends_n.append(keys / np.exp(m_t))
        ends_m.append(m_t)
    return y, (np.concatenate(ends_c), np.concatenate(ends_n), np.array(ends_m))


def cfc(p: Parameters, x: Doubles, state: State, t: Doubles | None = None) -> tuple[Doubles, State]:
    """Between two inputs h moves from one point to another; t [time] is the time since the previous one."""
    w_a, w_b, w_g, w_k = np.split(p["from_x.weight"], 4)
    b_a, b_b, b_g, b_k = np.split(p["from_x.bias"], 4)
    r_a, r_b, r_g, r_k = np.split(p["from_h.weight"], 4)
    (h,), y = state, []
    for x_t, elapsed in zip(x, np.ones(len(x)) if t is None else t, strict=True):
        reached = sigmoid((w_a @ x_t + r_a @ h + b_a) * elapsed + w_b @ x_t + r_b @ h + b_b)
        before, after = np.tanh(w_g @ x_t + r_g @ h + b_g), np.tanh(w_k @ x_t + r_k @ h + b_k)
        h = (1 - reached) * before + reached * after
        y.append(h)
    return np.stack(y), (h,)


def silu(z: Doubles) -> Doubles:
    return z * sigmoid(z)


def gla(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """A matrix for each head, each of whose rows decays at its own pace."""
    width = len(p["norm.weight"])
    w, b = (np.split(p[f"from_x.{kind}"], 5) for kind in ("weight", "bias"))
    memories, y = state[0].reshape(-1, width, width).copy(), np.empty((len(x), len(b[0])))
    for t, x_t in enumerate(x):
        for head, memory in enumerate(memories):
            own = slice(head * width, (head + 1) * width)
            q, k, v, gate, decay = (w_i[own] @ x_t + b_i[own] for w_i, b_i in zip(w, b, strict=True))
            memory[:] = np.diag(sigmoid(decay) ** (1 / 16)) @ memory + np.outer(k, v)
            y[t, own] = normalised(memory.T @ q, p["norm.weight"], p["norm.bias"]) * silu(gate)
    return y, (memories.ravel(),)


def gated_delta(p: Parameters, x: Doubles, state: State) -> tuple[Doubles, State]:
    """S (I - beta k kᵀ) with a decay, as the paper writes it; its S is the transpose of ours."""
    width = len(p["norm.weight"])
    memories = state[0].reshape(-1, width, width).transpose(0, 2, 1).copy()
    heads, hidden = len(memories), len(memories) * width
    ends = np.cumsum([hidden] * 4 + [heads])
    w, b = (np.split(p[f"from_x.{kind}"], ends) for kind in ("weight", "bias"))
    y = np.empty((len(x), hidden))
    for t, x_t in enumerate(x):
        for head, memory in enumerate(memories):
            own = slice(head * width, (head + 1) * width)
            q, k, v, gate = (w[i][own] @ x_t + b[i][own] for i in range(4))
            decay, beta = (sigmoid(w[i][head] @ x_t + b[i][head]) for i in (4, 5))
            q, k = (silu(z) / np.sqrt(silu(z) @ silu(z) + 1e-6) for z in (q, k))
            memory[:] = decay * memory @ (np.eye(width) - beta * np.outer(k, k)) + beta * np.outer(silu(v), k)
            y[t, own] = normalised(memory @ q, p["norm.weight"], p["norm.bias"]) * silu(gate)
    return y, (memories.transpose(0, 2, 1).ravel(),)


def convolved(weight: Doubles, maps: Doubles) -> Doubles:
    """[out, in, rows, columns] over [in, height, width], zeros around: [out, height, width]."""
    _, height, width = maps.shape
    above, left = weight.shape[2] // 2, weight.shape[3] // 2
    padded = np.pad(maps, ((0, 0), (above, above), (left, left)))
    out = np.zeros((len(weight), height, width))
    for row, column in np.ndindex(*weight.shape[2:]):
        seen = padded[:, row : row + height, column : column + width]
        out += np.tensordot(weight[:, :, row, column], seen, axes=1)
    return out


def conv_lstm(
    p: Parameters, x: Doubles, state: State, frame: tuple[int, int] | None = None
) -> tuple[Doubles, State]:
    """The standard LSTM with convolutions for products; by default numbers are a frame of one row."""
    maps = p["from_h.weight"].shape[1]
    frame = frame or (1, len(state[0]) // maps)
    h, c = (part.reshape(maps, *frame) for part in state)
    y = np.empty((len(x), h.size))
    for t, x_t in enumerate(x):
        from_x = convolved(p["from_x.weight"], x_t.reshape(-1, *frame)) + p["from_x.bias"][:, None, None]
        i, f, g, o = np.split(from_x + convolved(p["from_h.weight"], h), 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        y[t] = h.ravel()
    return y, (h.ravel(), c.ravel())


REFERENCES: dict[str, Reference] = {
    "cfc": cfc,
    "conv_lstm": conv_lstm,
    "gated_delta": gated_delta,
    "gla": gla,
    "mlstm": mlstm,
    "slstm": slstm,
}
