/* Fused training of many small two-layer networks, one network per SIMD lane.
 *
 *   pre = W1 x + b1,  h = f(pre) * mask,  y = g(W2 h + b2),  L = sum_p w_p sum_o I_o (y_o - t_o)^2,  then one Adam step.
 *
 * The LANES networks of a block share the weighted points (x, w) and the targets t, and differ in everything else, so a
 * point is read once and every arithmetic instruction works on all of them. x is stored sparsely: encoding costs
 * (active features) * M instead of N * M. Shapes and options are compile-time macros, set by fused.py:
 *   N inputs, M hidden, O outputs, TIED, HIDDEN_BIAS, OUTPUT_BIAS, DROPOUT, HIDDEN_ACT, OUTPUT_ACT.
 * Parameters lie as [W1: N x M][b1: M][W2: O x M][b2: O], each entry a vector of LANES floats; with TIED, W2 is W1.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef LANES /* floats in one register: set by fused.py; vectors wider than it go through memory */
#define LANES 16
#endif
#define AT_ONCE 6
#define TILE (320 / M < 4 ? 4 : 320 / M) /* rows of weights and of gradients that share the first cache */
typedef float v __attribute__((vector_size(4 * LANES), aligned(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES), aligned(4 * LANES)));
#define INLINE static inline __attribute__((always_inline))

#define OFF_B1 (N * M)
#define OFF_W2 (TIED ? 0 : N * M + M)
#define OFF_B2 (TIED ? N * M + M : N * M + M + O * M)
#define PARAMS (OFF_B2 + O)

INLINE v splat(float x) { return (v){0} + x; }
INLINE v keep(v x, vi where) { return (v)((vi)x & where); }
INLINE v choose(vi where, v yes, v no) { return (v)(((vi)yes & where) | ((vi)no & ~where)); }
INLINE v vabs(v x) { return (v)((vi)x & 0x7fffffff); }

/* exp for x <= 0, relative error below 3e-7: 2^k e^r with |r| <= ln2/2 and a degree 6 polynomial. */
INLINE v exp_neg(v x) {
  x = choose(x < -87.0f, splat(-87.0f), x);
  v t = x * 1.44269504f - 0.5f;
  vi k = __builtin_convertvector(t, vi); /* towards zero = nearest of x/ln2, since t <= -0.5 */
  v kf = __builtin_convertvector(k, v);
  v r = x - kf * 0.693359375f + kf * 2.12194440e-4f;
  v p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * (v)((k + 127) << 23);
}

/* log(1 + u) for 0 <= u <= 1 through atanh: log(1+u) = 2 atanh(u / (2 + u)), |s| <= 1/3. */
INLINE v log1p_unit(v u) {
  v s = u / (u + 2.0f), q = s * s;
  v p = splat(1.0f / 13);
  p = p * q + 1.0f / 11;
  p = p * q + 1.0f / 9;
  p = p * q + 1.0f / 7;
  p = p * q + 1.0f / 5;
  p = p * q + 1.0f / 3;
  p = p * q + 1.0f;
  return 2.0f * s * p;
}

/* Standard normal distribution function (Abramowitz and Stegun 7.1.26, absolute error 1.5e-7) and its density. */
INLINE v normal_cdf(v z, v *density) {
  v a = vabs(z) * 0.70710678f;
  v e = exp_neg(-a * a);
  v t = 1.0f / (a * 0.3275911f + 1.0f);
  v p = splat(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  v tail = 0.5f * p * t * e;
  *density = e * 0.39894228f;
  return choose(z < 0.0f, tail, 1.0f - tail);
}

enum { IDENTITY, RELU, GELU, SILU, SOFTPLUS, TANH };

/* f(z) and its derivative; the smooth kinds are f_s(z) = f(s z) / s. */
INLINE v activate(int kind, v z, float s, v *slope) {
  if (kind == IDENTITY) {
    *slope = splat(1.0f);
    return z;
  }
  if (kind == RELU) {
    vi on = z > 0.0f;
    *slope = keep(splat(1.0f), on);
    return keep(z, on);
  }
  v u = z * s;
  if (kind == GELU) {
    v density, c = normal_cdf(u, &density);
    *slope = c + u * density;
    return z * c;
  }
  v e = exp_neg(kind == TANH ? -2.0f * vabs(u) : -vabs(u));
  if (kind == TANH) {
    v t = (1.0f - e) / (1.0f + e);
    t = choose(u < 0.0f, -t, t);
    *slope = 1.0f - t * t;
    return t / s;
  }
  v sig = choose(u < 0.0f, e / (1.0f + e), 1.0f / (1.0f + e));
  if (kind == SILU) {
    *slope = sig * (1.0f + u * (1.0f - sig));
    return z * sig;
  }
  *slope = sig; /* SOFTPLUS */
  return (choose(u > 0.0f, u, splat(0.0f)) + log1p_unit(e)) / s;
}

typedef struct {
  const int32_t *offset; /* (points + 1) first entry of each point in index/value */
  const int32_t *index;  /* active feature numbers */
  const float *value;    /* their values */
  const float *dense;    /* (points, N) the same inputs with their zeros */
  const float *target;   /* (points, O) */
  const float *weight;   /* (points) */
} Points;

INLINE void encode(const v *w1, const v *b1, const Points *x, int point, v *pre) {
  for (int k = 0; k < M; k++) pre[k] = HIDDEN_BIAS ? b1[k] : splat(0.0f);
  for (int a = x->offset[point]; a < x->offset[point + 1]; a++) {
    const v *row = w1 + (long)x->index[a] * M;
    float value = x->value[a];
    for (int k = 0; k < M; k++) pre[k] += value * row[k];
  }
}

/* Gradient of `count` consecutive points (a compile-time constant: AT_ONCE, or 1 for the rest), added to grad. Several points
 * at once so that each weight and each gradient is loaded once for all of them; rows in tiles so that they are still in the
 * first cache when the second pass wants them. mask: (count, M) vectors already scaled by 1 / (1 - rate). */
INLINE void accumulate(const int count, const v *restrict param, v *restrict grad, const Points *x, int first,
                       const v *importance, float sharp_h, float sharp_y, v mask[][M]) {
  const v *w1 = param, *b1 = param + OFF_B1, *w2 = param + OFF_W2, *b2 = param + OFF_B2;
  v *g1 = grad, *gb1 = grad + OFF_B1, *g2 = grad + OFF_W2, *gb2 = grad + OFF_B2;
  v h[AT_ONCE][M], slope[AT_ONCE][M], back[AT_ONCE][M], g[AT_ONCE][TILE];
  /* Visiting active features costs a load and a store of the gradient for each; with many of them all features are cheaper. */
  const int crowded = count > 1 && x->offset[first + count] - x->offset[first] > N * count / 4;
  const float *dense = x->dense + (long)first * N;
  for (int j = 0; j < count; j++) {
    if (!crowded) encode(w1, b1, x, first + j, h[j]);
    for (int k = 0; k < M; k++) {
      if (crowded) h[j][k] = HIDDEN_BIAS ? b1[k] : splat(0.0f);
      back[j][k] = splat(0.0f);
    }
  }
  if (crowded)
    for (int low = 0; low < N; low += TILE)
      for (int k = 0; k < M; k++) {
        v sum[AT_ONCE];
        for (int j = 0; j < count; j++) sum[j] = h[j][k];
        for (int i = low; i < low + TILE && i < N; i++)
          for (int j = 0; j < count; j++) sum[j] += dense[j * N + i] * w1[i * M + k];
        for (int j = 0; j < count; j++) h[j][k] = sum[j];
      }
  for (int j = 0; j < count; j++)
    for (int k = 0; k < M; k++) {
      h[j][k] = activate(HIDDEN_ACT, h[j][k], sharp_h, &slope[j][k]);
      if (DROPOUT) h[j][k] *= mask[j][k];
    }
  for (int low = 0; low < O; low += TILE) {
    const int rows = O - low < TILE ? O - low : TILE;
    for (int t = 0; t < rows; t++) {
      const int o = low + t;
      v z[AT_ONCE], sum = splat(0.0f);
      for (int j = 0; j < count; j++) z[j] = OUTPUT_BIAS ? b2[o] : splat(0.0f);
      for (int k = 0; k < M; k++)
        for (int j = 0; j < count; j++) z[j] += w2[o * M + k] * h[j][k];
      for (int j = 0; j < count; j++) {
        v dy, y = activate(OUTPUT_ACT, z[j], sharp_y, &dy);
        float target = x->target[(long)(first + j) * O + o];
        g[j][t] = (y - target) * (importance[o] * (2.0f * x->weight[first + j])) * dy;
        sum += g[j][t];
      }
      if (OUTPUT_BIAS) gb2[o] += sum;
    }
    for (int k = 0; k < M; k++) {
      v part[AT_ONCE];
      for (int j = 0; j < count; j++) part[j] = back[j][k];
      for (int t = 0; t < rows; t++) {
        v row = w2[(low + t) * M + k], sum = g2[(low + t) * M + k];
        for (int j = 0; j < count; j++) {
          sum += g[j][t] * h[j][k];
          part[j] += g[j][t] * row;
        }
        g2[(low + t) * M + k] = sum;
      }
      for (int j = 0; j < count; j++) back[j][k] = part[j];
    }
  }
  for (int j = 0; j < count; j++) {
    for (int k = 0; k < M; k++) {
      if (DROPOUT) back[j][k] *= mask[j][k];
      back[j][k] *= slope[j][k];
      if (HIDDEN_BIAS) gb1[k] += back[j][k];
    }
    if (!crowded)
      for (int a = x->offset[first + j]; a < x->offset[first + j + 1]; a++)
        for (int k = 0; k < M; k++) g1[(long)x->index[a] * M + k] += x->value[a] * back[j][k];
  }
  if (crowded)
    for (int i = 0; i < N; i++)
      for (int k = 0; k < M; k++) {
        v sum = g1[i * M + k];
        for (int j = 0; j < count; j++) sum += dense[j * N + i] * back[j][k];
        g1[i * M + k] = sum;
      }
}

/* `steps` Adam steps of `blocks` blocks of LANES networks. Points of step t are t*points .. (t+1)*points - 1.
 * param, m1, m2: (blocks, PARAMS, LANES); importance: (blocks, O, LANES); schedule: (steps, 3) = learning rate / (1 - beta1^t),
 * 1 / sqrt(1 - beta2^t), learning rate * weight decay; masks: (blocks, steps, points, M, LANES) bytes, 1 = keep, or NULL. */
void train(int blocks, int steps, int points, const Points *x, const float *importance, const float *schedule, float beta1,
           float beta2, float eps, float sharp_h, float sharp_y, float keep_scale, const uint8_t *masks, float *param, float *m1,
           float *m2) {
  static __thread v grad[PARAMS];
  for (int block = 0; block < blocks; block++) {
    float *p = param + (long)block * PARAMS * LANES, *a = m1 + (long)block * PARAMS * LANES, *b = m2 + (long)block * PARAMS * LANES;
    const v *weight = (const v *)(importance + (long)block * O * LANES);
    for (int t = 0; t < steps; t++) {
      memset(grad, 0, sizeof grad);
      for (int i = 0; i < points;) {
        v mask[AT_ONCE][M];
        int count = points - i >= AT_ONCE ? AT_ONCE : 1;
        if (DROPOUT) {
          const uint8_t *bits = masks + (((long)block * steps + t) * points + i) * M * LANES;
          for (int j = 0; j < count * M * LANES; j++) ((float *)mask)[j] = keep_scale * bits[j];
        }
        if (count == AT_ONCE)
          accumulate(AT_ONCE, (const v *)p, grad, x, t * points + i, weight, sharp_h, sharp_y, mask);
        else
          accumulate(1, (const v *)p, grad, x, t * points + i, weight, sharp_h, sharp_y, mask);
        i += count;
      }
      const float *g = (const float *)grad;
      float rate = schedule[3 * t], root = schedule[3 * t + 1], shrink = 1.0f - schedule[3 * t + 2];
      for (int j = 0; j < PARAMS * LANES; j++) {
        a[j] = beta1 * a[j] + (1.0f - beta1) * g[j];
        b[j] = beta2 * b[j] + (1.0f - beta2) * g[j] * g[j];
        p[j] = p[j] * shrink - rate * a[j] / (sqrtf(b[j]) * root + eps);
      }
    }
  }
}

/* Weighted squared error per output, no dropout, no importance: loss (blocks, O, LANES) is overwritten. */
void evaluate(int blocks, int points, const Points *x, float sharp_h, float sharp_y, const float *param, float *loss) {
  for (int block = 0; block < blocks; block++) {
    const v *p = (const v *)(param + (long)block * PARAMS * LANES);
    v *out = (v *)(loss + (long)block * O * LANES);
    for (int o = 0; o < O; o++) out[o] = splat(0.0f);
    for (int i = 0; i < points; i++) {
      v h[M], unused;
      encode(p, p + OFF_B1, x, i, h);
      for (int k = 0; k < M; k++) h[k] = activate(HIDDEN_ACT, h[k], sharp_h, &unused);
      for (int o = 0; o < O; o++) {
        v z = OUTPUT_BIAS ? p[OFF_B2 + o] : splat(0.0f);
        for (int k = 0; k < M; k++) z += p[OFF_W2 + o * M + k] * h[k];
        v e = activate(OUTPUT_ACT, z, sharp_y, &unused) - x->target[(long)i * O + o];
        out[o] += x->weight[i] * e * e;
      }
    }
  }
}
