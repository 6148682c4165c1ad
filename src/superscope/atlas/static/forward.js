"use strict";
// A forward pass in the page: byte-level BPE, then a pre-LayerNorm transformer up to one place in it, then an SAE's encoder.
// The numbers are those of the PyTorch model to rounding: weights are float32, sums are taken in float64.

const Forward = (() => {
  // ---------------------------------------------------------------------------------------------------------- tokenizer

  // The pattern of corpus/tokenizer.py; its \s is Unicode's white space, which is not JavaScript's (no U+0085, but U+FEFF).
  const PIECES = / ?\p{L}[\p{L}\p{M}]*|\p{N}| ?[^\p{White_Space}\p{L}\p{N}]+|\n+|[^\P{White_Space}\n]+(?!\P{White_Space})|\p{White_Space}/gu;

  function byteLetters() { // byte -> the visible letter that stands for it in the vocabulary
    const out = [];
    for (let byte = 0, more = 256; byte < 256; byte += 1) {
      const plain = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
      out.push(String.fromCharCode(plain ? byte : more++));
    }
    return out;
  }

  class Tokenizer {
    // vocabulary: entries by id, in byte letters. merges: ids of left and right, by rank. special: ids that text may spell out.
    constructor({ vocabulary, merges, special, bos }) {
      const letters = byteLetters();
      const id = new Map(vocabulary.map((entry, k) => [entry, k]));
      this.bos = bos;
      this.size = vocabulary.length;
      this.vocabulary = vocabulary;
      this.ofByte = letters.map((letter) => id.get(letter));
      this.byteOf = new Map(letters.map((letter, byte) => [letter, byte]));
      this.special = new Map(special.map((k) => [vocabulary[k], k]));
      this.merge = new Map(); // left * size + right -> [rank, merged]
      for (let k = 0; k < merges.length; k += 2) {
        const [left, right] = [merges[k], merges[k + 1]];
        this.merge.set(left * this.size + right, [k, id.get(vocabulary[left] + vocabulary[right])]);
      }
      const quoted = [...this.special.keys()].map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
      this.split = quoted.length ? new RegExp(`(${quoted.join("|")})`, "u") : null;
    }

    encode(text) {
      const out = [];
      for (const part of this.split ? text.split(this.split) : [text]) {
        if (this.special.has(part)) out.push(this.special.get(part));
        else for (const [word] of part.matchAll(PIECES)) out.push(...this.word(word));
      }
      return out;
    }

    word(text) {
      let ids = Array.from(new TextEncoder().encode(text), (byte) => this.ofByte[byte]);
      for (;;) { // of all pairs that can be merged the one of lowest rank, wherever it stands
        let best = null;
        let pair = -1;
        for (let k = 0; k + 1 < ids.length; k += 1) {
          const found = this.merge.get(ids[k] * this.size + ids[k + 1]);
          if (found && (!best || found[0] < best[0])) [best, pair] = [found, ids[k] * this.size + ids[k + 1]];
        }
        if (!best) return ids;
        const merged = [];
        for (let k = 0; k < ids.length; k += 1) {
          if (k + 1 < ids.length && ids[k] * this.size + ids[k + 1] === pair) { merged.push(best[1]); k += 1; }
          else merged.push(ids[k]);
        }
        ids = merged;
      }
    }

    piece(id) { // the text of one token; a part of a character is the replacement character
      const entry = this.vocabulary[id];
      if (this.special.has(entry)) return entry;
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(entry, (letter) => this.byteOf.get(letter)));
    }
  }

  // ------------------------------------------------------------------------------------------------------------ weights

  function halves() { // float16 -> float32, all 65,536 of them
    const out = new Float32Array(1 << 16);
    for (let bits = 0; bits < out.length; bits += 1) {
      const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
      const size = exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity) : (1024 + fraction) * 2 ** (exponent - 25);
      out[bits] = bits >> 15 ? -size : size;
    }
    return out;
  }

  function unpack({ data, float16, tensors }) { // name -> Float32Array
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const table = float16 ? halves() : null;
    const out = {};
    let at = 0;
    for (const [name, count] of tensors) {
      const values = new Float32Array(count);
      for (let k = 0; k < count; k += 1, at += float16 ? 2 : 4) {
        values[k] = float16 ? table[view.getUint16(at, true)] : view.getFloat32(at, true);
      }
      out[name] = values;
    }
    return out;
  }

  // --------------------------------------------------------------------------------------------------------- arithmetic

  // x (rows, a) times w (a, b) from `start` on, plus bias (b) from `from` on.
  function linear(x, rows, w, b, bias, start = 0, from = 0) {
    const a = x.length / rows;
    const out = new Float32Array(rows * b);
    const sums = new Float64Array(b);
    for (let r = 0; r < rows; r += 1) {
      for (let j = 0; j < b; j += 1) sums[j] = bias ? bias[from + j] : 0;
      for (let i = 0; i < a; i += 1) {
        const value = x[r * a + i];
        if (value === 0) continue;
        for (let j = 0, at = start + i * b; j < b; j += 1, at += 1) sums[j] += value * w[at];
      }
      out.set(sums, r * b);
    }
    return out;
  }

  function normalised(x, rows, weight, bias, eps) { // LayerNorm of every row
    const d = x.length / rows;
    const out = new Float32Array(x.length);
    for (let r = 0; r < rows; r += 1) {
      let [mean, variance] = [0, 0];
      for (let i = 0; i < d; i += 1) mean += x[r * d + i] / d;
      for (let i = 0; i < d; i += 1) variance += (x[r * d + i] - mean) ** 2 / d;
      const scale = 1 / Math.sqrt(variance + eps);
      for (let i = 0; i < d; i += 1) out[r * d + i] = (x[r * d + i] - mean) * scale * weight[i] + bias[i];
    }
    return out;
  }

  const added = (x, y) => x.map((value, k) => value + y[k]);

  function softmax(scores) { // in place
    const top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    let total = 0;
    for (let k = 0; k < scores.length; k += 1) total += (scores[k] = Math.exp(scores[k] - top));
    for (let k = 0; k < scores.length; k += 1) scores[k] /= total;
    return scores;
  }

  function erf(x) { // the series with terms of one sign: exact to rounding
    if (Math.abs(x) > 6) return Math.sign(x);
    let [term, sum] = [x, x];
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n += 1) sum += (term *= (2 * x * x) / (2 * n + 1));
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }

  function activated(x, rows, kind) {
    if (kind === "relu") return x.map((v) => Math.max(v, 0));
    if (kind === "gelu") return x.map((v) => (v * (1 + erf(v / Math.SQRT2))) / 2);
    const d = x.length / rows; // SoLU: x softmax(x)
    const out = new Float32Array(x.length);
    for (let r = 0; r < rows; r += 1) {
      const share = softmax(Float64Array.from(x.subarray(r * d, (r + 1) * d)));
      for (let i = 0; i < d; i += 1) out[r * d + i] = x[r * d + i] * share[i];
    }
    return out;
  }

  // --------------------------------------------------------------------------------------------------------- transformer

  function attention(x, where, rows, w, at, shape) { // causal; `where` is added to what queries and keys read
    const { heads, d_model: d } = shape;
    const k = d / heads;
    const z = new Float32Array(rows * d);
    const asked = where ? added(x, where) : x;
    for (let h = 0; h < heads; h += 1) {
      const read = (letter, from) => linear(from, rows, w[`${at}attn.W_${letter}`], k, w[`${at}attn.b_${letter}`], h * d * k, h * k);
      const [q, key, v] = [read("Q", asked), read("K", asked), read("V", x)];
      for (let r = 0; r < rows; r += 1) {
        const scores = new Float64Array(r + 1);
        for (let s = 0; s <= r; s += 1) {
          let dot = 0;
          for (let i = 0; i < k; i += 1) dot += q[r * k + i] * key[s * k + i];
          scores[s] = dot / Math.sqrt(k);
        }
        softmax(scores);
        for (let i = 0; i < k; i += 1) {
          let sum = 0;
          for (let s = 0; s <= r; s += 1) sum += scores[s] * v[s * k + i];
          z[r * d + h * k + i] = sum;
        }
      }
    }
    return linear(z, rows, w[`${at}attn.W_O`], d, w[`${at}attn.b_O`]);
  }

  // [hook, value (position, width)] in the order in which TransformerLens' hooks hold them.
  function* sites(ids, w, shape) {
    const { d_model: d, eps, act, layers, shortformer } = shape;
    const rows = ids.length;
    const where = w.W_pos.subarray(0, rows * d);
    let x = new Float32Array(rows * d);
    ids.forEach((id, r) => x.set(w.W_E.subarray(id * d, (id + 1) * d), r * d));
    if (!shortformer) x = added(x, where);
    for (let layer = 0; layer < layers; layer += 1) {
      const at = `blocks.${layer}.`;
      yield [`${at}hook_resid_pre`, x];
      const first = normalised(x, rows, w[`${at}ln1.w`], w[`${at}ln1.b`], eps);
      yield [`${at}ln1.hook_normalized`, first];
      const seen = attention(first, shortformer ? where : null, rows, w, at, shape);
      yield [`${at}hook_attn_out`, seen];
      x = added(x, seen);
      yield [`${at}hook_resid_mid`, x];
      const second = normalised(x, rows, w[`${at}ln2.w`], w[`${at}ln2.b`], eps);
      yield [`${at}ln2.hook_normalized`, second];
      const bias = w[`${at}mlp.b_in`];
      const pre = linear(second, rows, w[`${at}mlp.W_in`], bias.length, bias);
      yield [`${at}mlp.hook_pre`, pre];
      let post = activated(pre, rows, act);
      if (act === "solu_ln") {
        yield [`${at}mlp.hook_mid`, post];
        post = normalised(post, rows, w[`${at}mlp.ln.w`], w[`${at}mlp.ln.b`], eps);
      }
      yield [`${at}mlp.hook_post`, post];
      const out = linear(post, rows, w[`${at}mlp.W_out`], d, w[`${at}mlp.b_out`]);
      yield [`${at}hook_mlp_out`, out];
      x = added(x, out);
      yield [`${at}hook_resid_post`, x];
    }
  }

  function encoded(x, rows, w, sae) { // latents (position, latent)
    const d = x.length / rows;
    const centred = sae.centred ? x.map((value, k) => value - w["sae.b_dec"][k % d]) : x;
    const n = w["sae.W_enc"].length / d;
    const pre = linear(centred, rows, w["sae.W_enc"], n, sae.kind === "gated" ? null : w["sae.b_enc"]);
    if (sae.kind === "gated") {
      return pre.map((raw, k) => (raw + w["sae.b_gate"][k % n] > 0
        ? Math.max(0, raw * Math.exp(w["sae.r_mag"][k % n]) + w["sae.b_mag"][k % n]) : 0));
    }
    if (sae.kind === "standard") return pre.map((v) => Math.max(v, 0));
    if (sae.kind !== "topk") return pre.map((v, k) => (v > w["sae.threshold"][k % n] ? Math.max(v, 0) : 0));
    const scaled = sae.rescaled ? pre.map((v, k) => v * w["sae.norm"][k % n]) : pre;
    const out = new Float32Array(rows * n);
    for (let r = 0; r < rows; r += 1) {
      const row = scaled.subarray(r * n, (r + 1) * n);
      const least = row.slice().sort()[n - sae.k];
      let ties = sae.k - row.reduce((count, v) => count + (v > least), 0);
      for (let k = 0; k < n; k += 1) {
        if (row[k] > least || (row[k] === least && ties-- > 0)) out[r * n + k] = Math.max(row[k], 0);
      }
    }
    return out;
  }

  // Text in, activations out. The text is read from its start, after BOS, up to the model's context.
  class Model {
    constructor(data) {
      this.shape = data.shape;
      this.stop = data.stop;
      this.sae = data.sae;
      this.tokenizer = new Tokenizer(data.tokenizer);
      this.weights = unpack(data.weights);
    }

    // {tokens, pieces, left, units, values}: values (token, unit) without BOS; left: tokens that did not fit the context.
    read(text) {
      const all = this.tokenizer.encode(text);
      const tokens = all.slice(0, this.shape.n_ctx - 1);
      const rows = tokens.length + 1;
      const ids = [this.tokenizer.bos, ...tokens];
      let values = null;
      for (const [hook, value] of sites(ids, this.weights, this.shape)) {
        if (hook === this.stop) { values = value; break; }
      }
      if (this.sae) values = encoded(values, rows, this.weights, this.sae);
      const units = values.length / rows;
      return { tokens, pieces: tokens.map((id) => this.tokenizer.piece(id)), left: all.length - tokens.length, units, values: values.subarray(units) };
    }
  }

  return { Model, Tokenizer };
})();
if (typeof window !== "undefined") window.Forward = Forward;
