// Forward pass of a decoder over tokens that continue running texts, and the draw of their next tokens.
//
// Prefill and decode are one function: N tokens, each with a position and a slot of the key-value cache, packed
// without padding. A token's numbers never depend on which other tokens are in the call: every sum runs in an order
// that follows from the token's own text, so a response is the same to the last bit alone and in company.
//
// Matrices are stored in blocks of 32 outputs, [block][input][32], so that a tile of up to ROWS tokens by 32 outputs
// stays in registers while the weights stream by once. The three ways to store a weight:
//   Float   float32
//   Half    bfloat16, two inputs side by side; activations are rounded to bfloat16 at each product, sums are float32
//   Byte    int8 with one scale per output; activations stay float32
// Half keeps keys and values in bfloat16 too. Plain vector extensions of GCC and Clang; intrinsics where the processor
// multiplies bfloat16 itself and where a compiler widens short numbers one by one.
//
// Keys lie in blocks of 16 positions, [block][head_dim][16], so that 16 scores are computed at once.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16, BLOCK = 32;
#ifdef __AVX512F__
constexpr int ROWS = 12;  // 24 of 32 registers hold sums
#else
constexpr int ROWS = 3;
#endif
constexpr int64_t SLAB = 4 * 12;  // tokens per unit of work: their inputs stay in the second-level cache

typedef float Vec __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Bits __attribute__((vector_size(64)));
typedef float VecAt __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t BitsAt __attribute__((vector_size(64), aligned(2), may_alias));

inline Vec load(const float* at) { return *(const VecAt*)at; }
#ifdef __AVX512F__
inline Vec load(const uint16_t* at) {
    return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)at)), 16);
}
inline Vec load(const int8_t* at) {
    return (Vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)at)));
}
#else
inline Vec load(const uint16_t* at) {
    Bits out;
    for (int i = 0; i < LANES; i++) out[i] = (uint32_t)at[i] << 16;
    return (Vec)out;
}
inline Vec load(const int8_t* at) {
    Vec out;
    for (int i = 0; i < LANES; i++) out[i] = at[i];
    return out;
}
#endif
inline void store(float* at, Vec x) { *(VecAt*)at = x; }
inline Vec all(float x) { return Vec{} + x; }

inline float sum(Vec x) {
    float out = 0;
    for (int i = 0; i < LANES; i++) out += x[i];
    return out;
}

inline float largest(Vec x) {
    float out = x[0];
    for (int i = 1; i < LANES; i++) out = std::max(out, x[i]);
    return out;
}

inline uint16_t to_half(float x) {  // round to nearest even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float from_half(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

inline void put(float* at, Vec x) { store(at, x); }
inline void put(uint16_t* at, Vec x) {
#ifdef __AVX512BF16__
    _mm256_storeu_si256((__m256i*)at, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    for (int i = 0; i < LANES; i++) at[i] = to_half(x[i]);
#endif
}
inline void put(float* at, float x) { *at = x; }
inline void put(uint16_t* at, float x) { *at = to_half(x); }

// e^x to about 1e-7: 2^n times a polynomial on [-ln2/2, ln2/2] (Cephes, Moshier 1992)
inline Vec exponential(Vec x) {
    x = x > 88.0f ? all(88.0f) : x;
    Vec small = x < -87.0f ? all(-87.0f) : x;
    Vec n = small * 1.44269504f + 12582912.0f;  // the addition rounds to an integer
    n -= 12582912.0f;
    Vec r = small - n * 0.693359375f + n * 2.12194440e-4f;
    Vec p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    Ints power = (__builtin_convertvector(n, Ints) + 127) << 23;
    Vec out = p * (Vec)power;
    return x < -87.0f ? Vec{} : (x == x ? out : x);
}

enum Activation { SILU, GELU, GELU_TANH, RELU };

inline Vec activate(Vec x, int64_t kind) {
    if (kind == SILU) return x / (1.0f + exponential(-x));
    if (kind == GELU_TANH) return x / (1.0f + exponential(-1.5957691216f * (x + 0.044715f * x * x * x)));
    if (kind == RELU) return x > 0.0f ? x : Vec{};
    Vec out;
    for (int i = 0; i < LANES; i++) out[i] = 0.5f * x[i] * (1.0f + std::erf(x[i] * 0.70710678f));
    return out;
}

template <class W>
struct Plain {
    using In = float;
    using Weight = W;
    using Kept = float;
    template <int R>
    static void tile(const In* x, int64_t stride, int64_t inner, const Weight* w, Vec (&s)[R][2]) {
        for (int64_t k = 0; k < inner; k++, w += BLOCK) {
            Vec a = load(w), b = load(w + LANES);
            for (int r = 0; r < R; r++) {
                Vec v = all(x[r * stride + k]);
                s[r][0] += v * a;
                s[r][1] += v * b;
            }
        }
    }
};

using Float = Plain<float>;
using Byte = Plain<int8_t>;

struct Half {
    using In = uint16_t;
    using Weight = uint16_t;
    using Kept = uint16_t;
    template <int R>
    static void tile(const In* x, int64_t stride, int64_t inner, const Weight* w, Vec (&s)[R][2]) {
        for (int64_t k = 0; k < inner; k += 2, w += 2 * BLOCK) {
            Bits a = *(const BitsAt*)w, b = *(const BitsAt*)(w + BLOCK);
            for (int r = 0; r < R; r++) {
                uint32_t pair;
                std::memcpy(&pair, x + r * stride + k, 4);
#ifdef __AVX512BF16__
                __m512bh v = (__m512bh)_mm512_set1_epi32((int)pair);
                s[r][0] = (Vec)_mm512_dpbf16_ps((__m512)s[r][0], v, (__m512bh)a);
                s[r][1] = (Vec)_mm512_dpbf16_ps((__m512)s[r][1], v, (__m512bh)b);
#else
                Vec even = all(from_half((uint16_t)pair)), odd = all(from_half((uint16_t)(pair >> 16)));
                s[r][0] += even * (Vec)(a << 16);
                s[r][1] += even * (Vec)(b << 16);
                s[r][0] += odd * (Vec)(a & 0xffff0000u);
                s[r][1] += odd * (Vec)(b & 0xffff0000u);
#endif
            }
        }
    }
};

// a (R x 32) tile of x @ w, written to out
template <class T, int R>
void tile_to(const typename T::In* x, int64_t stride, int64_t inner, const typename T::Weight* w, float* out) {
    Vec s[R][2] = {};
    T::template tile<R>(x, stride, inner, w, s);
    for (int r = 0; r < R; r++) {
        store(out + r * BLOCK, s[r][0]);
        store(out + r * BLOCK + LANES, s[r][1]);
    }
}

template <class T, int R = ROWS>
void tiles(int64_t rows, const typename T::In* x, int64_t stride, int64_t inner, const typename T::Weight* w,
           float* out) {
    if (rows == R) return tile_to<T, R>(x, stride, inner, w, out);
    if constexpr (R > 1) tiles<T, R - 1>(rows, x, stride, inner, w, out);
}

struct Linear {
    const void* weight;
    const float* scale;  // per output, or null
    const float* bias;   // per output, or null
    int64_t blocks, inner;
};

struct Layer {
    Linear qkv, out, up, down;
    const float *norm1, *norm1_bias, *norm2, *norm2_bias, *q_norm, *k_norm;
    int64_t window;  // 0: none
};

struct Model {
    int64_t kind;  // of weights: 0 Float, 1 Half, 2 Byte
    int64_t embed_half, num_layers, hidden, heads, kv_heads, head_dim, gated, activation, layer_norm;
    double eps;
    const void* embed;                  // (vocabulary, hidden), float32 or bfloat16
    const float *places, *cosine, *sine;  // learned positions (context, hidden); rotary (context, head_dim / 2); or null
    const Layer* layers;
    const float *norm, *norm_bias;
    Linear head;
};

struct Cache {
    void *keys, *values;  // (layers, slots, kv_heads, max_tokens, head_dim or that rounded up to 16)
    int64_t slots, max_tokens;
};

struct Batch {
    int64_t tokens_n;
    const int64_t *tokens, *positions, *slots;
    int64_t out_n;
    const int64_t* out_rows;  // which tokens' logits are wanted
    float* logits;            // (out_n, 32 * head.blocks)
    char* scratch;
    int64_t threads;
};

int64_t up_to(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

struct Share {  // what one thread does of `total` things
    int64_t begin, end;
    Share(int64_t total, int64_t thread, int64_t threads)
        : begin(total * thread / threads), end(total * (thread + 1) / threads) {}
};

void wait() {
#ifdef _OPENMP
#pragma omp barrier
#endif
}

enum After { STORE, ADD, GATE, ACT };

// out = x @ weight (+ bias), then: STORE it, ADD it to what is there, or hand activations on as inputs of a product
template <class T>
void linear(const Linear& l, const typename T::In* x, int64_t stride, int64_t rows, After after, int64_t activation,
            void* out, int64_t out_stride, int64_t thread, int64_t threads) {
    using In = typename T::In;
    alignas(64) float got[ROWS * BLOCK];
    const int64_t slabs = (rows + SLAB - 1) / SLAB;
    const Share mine(l.blocks * slabs, thread, threads);
    for (int64_t item = mine.begin; item < mine.end; item++) {
        const int64_t block = item / slabs, first = item % slabs * SLAB, last = std::min(first + SLAB, rows);
        const auto* w = (const typename T::Weight*)l.weight + block * l.inner * BLOCK;
        const int64_t count = (last - first + ROWS - 1) / ROWS;
        for (int64_t part = 0; part < count; part++) {
            const Share these(last - first, part, count);
            const int64_t row0 = first + these.begin, n = these.end - these.begin;
            tiles<T>(n, x + row0 * stride, stride, l.inner, w, got);
            for (int64_t r = 0; r < n; r++) {
                Vec a = load(got + r * BLOCK), b = load(got + r * BLOCK + LANES);
                if (l.scale) a *= load(l.scale + block * BLOCK), b *= load(l.scale + block * BLOCK + LANES);
                if (l.bias) a += load(l.bias + block * BLOCK), b += load(l.bias + block * BLOCK + LANES);
                const int64_t at = (row0 + r) * out_stride;
                float* to = (float*)out + at + block * BLOCK;
                if (after == STORE) store(to, a), store(to + LANES, b);
                if (after == ADD) store(to, load(to) + a), store(to + LANES, load(to + LANES) + b);
                if (after == GATE) put((In*)out + at + block * LANES, activate(a, activation) * b);
                if (after == ACT) {
                    put((In*)out + at + block * BLOCK, activate(a, activation));
                    put((In*)out + at + block * BLOCK + LANES, activate(b, activation));
                }
            }
        }
    }
}

// x is padded with zeros to a multiple of 32, weights too
template <class In>
void normalise(const Model& m, const float* x, const float* weight, const float* bias, In* out) {
    const int64_t width = up_to(m.hidden, BLOCK);
    Vec squares{};
    float mean = 0;
    if (m.layer_norm) {
        Vec total{};
        for (int64_t i = 0; i < width; i += LANES) total += load(x + i);
        mean = sum(total) / m.hidden;
    }
    for (int64_t i = 0; i < width; i += LANES) {
        Vec d = load(x + i) - mean;
        squares += d * d;
    }
    const float padding = (width - m.hidden) * mean * mean;
    const float inverse = 1.0f / std::sqrt((sum(squares) - padding) / m.hidden + (float)m.eps);
    for (int64_t i = 0; i < width; i += LANES) {
        Vec y = (load(x + i) - mean) * inverse * load(weight + i);
        put(out + i, bias ? y + load(bias + i) : y);
    }
}

void normalise_head(float* x, const float* weight, int64_t dim, double eps) {
    float squares = 0;
    for (int64_t i = 0; i < dim; i++) squares += x[i] * x[i];
    const float inverse = 1.0f / std::sqrt(squares / dim + (float)eps);
    for (int64_t i = 0; i < dim; i++) x[i] *= inverse * weight[i];
}

void turn(float* x, const float* cosine, const float* sine, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i] + a * sine[i];
    }
}

// scores of N blocks of 16 positions
template <int N, class Kept>
void scores_of(const float* query, const Kept* keys, int64_t dim, float* scores) {
    Vec s[N] = {};
    for (int64_t d = 0; d < dim; d++)
        for (int n = 0; n < N; n++) s[n] += query[d] * load(keys + (n * dim + d) * LANES);
    for (int n = 0; n < N; n++) store(scores + n * LANES, s[n]);
}

// N vectors of the weighted mean of values
template <int N, class Kept, class In>
void values_of(const float* weights, float inverse, const Kept* values, int64_t stride, int64_t begin, int64_t end,
               In* out, int64_t keep) {
    Vec s[N] = {};
    for (int64_t p = begin; p < end; p++)
        for (int n = 0; n < N; n++) s[n] += weights[p] * load(values + p * stride + n * LANES);
    for (int n = 0; n < N; n++) {
        if (keep >= (n + 1) * LANES) {
            put(out + n * LANES, s[n] * inverse);
        } else {
            for (int64_t i = 0; i < keep - n * LANES; i++) put(out + n * LANES + i, s[n][i] * inverse);
        }
    }
}

template <class Kept, class In>
void attend(const float* query, const Kept* keys, const Kept* values, int64_t begin, int64_t end, int64_t dim,
            float* scores, In* out) {
    const int64_t first = begin / LANES, last = (end + LANES - 1) / LANES, stride = up_to(dim, LANES);
    int64_t b = first;
    for (; b + 4 <= last; b += 4) scores_of<4>(query, keys + b * LANES * dim, dim, scores + b * LANES);
    for (; b < last; b++) scores_of<1>(query, keys + b * LANES * dim, dim, scores + b * LANES);
    for (int64_t p = first * LANES; p < begin; p++) scores[p] = -INFINITY;
    for (int64_t p = end; p < last * LANES; p++) scores[p] = -INFINITY;
    Vec most = load(scores + first * LANES), total{};
    for (b = first + 1; b < last; b++) {
        Vec x = load(scores + b * LANES);
        most = x > most ? x : most;
    }
    const float top = largest(most);
    for (b = first; b < last; b++) {
        Vec e = exponential(load(scores + b * LANES) - top);
        store(scores + b * LANES, e);
        total += e;
    }
    const float inverse = 1.0f / sum(total);
    int64_t d = 0;
    for (; d + 4 * LANES <= stride; d += 4 * LANES)
        values_of<4>(scores, inverse, values + d, stride, begin, end, out + d, dim - d);
    for (; d + 2 * LANES <= stride; d += 2 * LANES)
        values_of<2>(scores, inverse, values + d, stride, begin, end, out + d, dim - d);
    for (; d < stride; d += LANES) values_of<1>(scores, inverse, values + d, stride, begin, end, out + d, dim - d);
}

template <class T>
struct Pass {
    using In = typename T::In;
    using Kept = typename T::Kept;
    const Model& m;
    const Cache& c;
    const Batch& b;
    int64_t rows, width, qkv_width, att_width, mlp_width, group, stride;
    float *x, *qkv, *scores;
    In *in, *att, *mlp;

    Pass(const Model& m, const Cache& c, const Batch& b) : m(m), c(c), b(b), rows(b.tokens_n) {
        const Layer& l = m.layers[0];
        width = up_to(m.hidden, BLOCK), qkv_width = l.qkv.blocks * BLOCK, att_width = m.heads * m.head_dim;
        mlp_width = l.down.inner, group = m.heads / m.kv_heads, stride = up_to(m.head_dim, LANES);
        char* at = b.scratch;
        auto take = [&](int64_t bytes) { char* p = at; at += up_to(bytes, 64); return p; };
        x = (float*)take(rows * width * 4), qkv = (float*)take(rows * qkv_width * 4);
        scores = (float*)take(b.threads * up_to(c.max_tokens, LANES) * 4);
        in = (In*)take(rows * width * 4), att = (In*)take(rows * att_width * 4), mlp = (In*)take(rows * mlp_width * 4);
    }

    void embed(int64_t row) const {
        float* to = x + row * width;
        const int64_t token = b.tokens[row];
        std::memset(to, 0, width * 4);
        if (m.embed_half) {
            for (int64_t i = 0; i < m.hidden; i++) to[i] = from_half(((const uint16_t*)m.embed)[token * m.hidden + i]);
        } else {
            std::memcpy(to, (const float*)m.embed + token * m.hidden, m.hidden * 4);
        }
        if (m.places)
            for (int64_t i = 0; i < m.hidden; i++) to[i] += m.places[b.positions[row] * m.hidden + i];
    }

    void place(const Layer& l, int64_t layer, int64_t row) const {  // turn queries and keys; write keys and values
        const int64_t dim = m.head_dim, position = b.positions[row];
        float* query = qkv + row * qkv_width;
        float* key = query + m.heads * dim;
        const float* value = key + m.kv_heads * dim;
        for (int64_t h = 0; h < m.heads + m.kv_heads; h++) {
            float* head = query + h * dim;
            if (l.q_norm) normalise_head(head, h < m.heads ? l.q_norm : l.k_norm, dim, m.eps);
            if (m.cosine) turn(head, m.cosine + position * dim / 2, m.sine + position * dim / 2, dim / 2);
        }
        const float scale = 1.0f / std::sqrt((float)dim);
        for (int64_t i = 0; i < m.heads * dim; i++) query[i] *= scale;
        for (int64_t h = 0; h < m.kv_heads; h++) {
            const int64_t at = ((layer * c.slots + b.slots[row]) * m.kv_heads + h) * c.max_tokens;
            Kept* keys = (Kept*)c.keys + at * dim + position / LANES * LANES * dim + position % LANES;
            Kept* values = (Kept*)c.values + (at + position) * stride;
            for (int64_t d = 0; d < dim; d++) put(keys + d * LANES, key[h * dim + d]);
            for (int64_t d = 0; d < dim; d++) put(values + d, value[h * dim + d]);
        }
    }

    void look(const Layer& l, int64_t layer, int64_t row, int64_t kv_head, float* mine) const {
        const int64_t dim = m.head_dim, end = b.positions[row] + 1;
        const int64_t begin = l.window ? std::max<int64_t>(0, end - l.window) : 0;
        const int64_t at = ((layer * c.slots + b.slots[row]) * m.kv_heads + kv_head) * c.max_tokens;
        for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++)
            attend(qkv + row * qkv_width + h * dim, (const Kept*)c.keys + at * dim, (const Kept*)c.values + at * stride,
                   begin, end, dim, mine, att + row * att_width + h * dim);
    }

    void run(int64_t thread, int64_t threads) const {
        const Share mine(rows, thread, threads), heads(rows * m.kv_heads, thread, threads);
        float* own_scores = scores + thread * up_to(c.max_tokens, LANES);
        for (int64_t row = mine.begin; row < mine.end; row++) embed(row);
        for (int64_t i = 0; i < m.num_layers; i++) {
            const Layer& l = m.layers[i];
            for (int64_t row = mine.begin; row < mine.end; row++)
                normalise(m, x + row * width, l.norm1, l.norm1_bias, in + row * width);
            wait();
            linear<T>(l.qkv, in, width, rows, STORE, 0, qkv, qkv_width, thread, threads);
            wait();
            for (int64_t row = mine.begin; row < mine.end; row++) place(l, i, row);
            wait();
            for (int64_t j = heads.begin; j < heads.end; j++) look(l, i, j / m.kv_heads, j % m.kv_heads, own_scores);
            wait();
            linear<T>(l.out, att, att_width, rows, ADD, 0, x, width, thread, threads);
            wait();
            for (int64_t row = mine.begin; row < mine.end; row++)
                normalise(m, x + row * width, l.norm2, l.norm2_bias, in + row * width);
            wait();
            linear<T>(l.up, in, width, rows, m.gated ? GATE : ACT, m.activation, mlp, mlp_width, thread, threads);
            wait();
            linear<T>(l.down, mlp, mlp_width, rows, ADD, 0, x, width, thread, threads);
            wait();
        }
        const Share last(b.out_n, thread, threads);
        for (int64_t i = last.begin; i < last.end; i++)
            normalise(m, x + b.out_rows[i] * width, m.norm, m.norm_bias, in + i * width);
        wait();
        linear<T>(m.head, in, width, b.out_n, STORE, 0, b.logits, m.head.blocks * BLOCK, thread, threads);
    }
};

template <class Work>
void in_parallel(int64_t threads, const Work& work) {
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        work(omp_get_thread_num(), omp_get_num_threads());
        return;
    }
#endif
    work(0, 1);
}

template <class T>
void pass(const Model& m, const Cache& c, const Batch& b) {
    const Pass<T> p(m, c, b);
    in_parallel(b.threads, [&](int64_t thread, int64_t threads) { p.run(thread, threads); });
}

inline float widened(float x) { return x; }
inline float widened(uint16_t x) { return from_half(x); }

// rows of a matrix to blocks of 32 outputs; what is beyond the last row is zero
template <class From, class To>
void to_blocks(const From* from, int64_t outputs, int64_t inner, To* out, int64_t thread, int64_t threads) {
    const int64_t pair = sizeof(To) == 2 ? 2 : 1;
    const Share mine(up_to(outputs, BLOCK) / BLOCK, thread, threads);
    for (int64_t row = mine.begin * BLOCK; row < mine.end * BLOCK; row++) {
        To* to = out + row / BLOCK * BLOCK * inner + row % BLOCK * pair;
        for (int64_t k = 0; k < inner; k += pair)
            for (int64_t i = 0; i < pair; i++)
                put(to + k * BLOCK + i, row < outputs ? widened(from[row * inner + k + i]) : 0.0f);
    }
}

// One token: the first entry whose running sum of probabilities exceeds uniform * total, or the likeliest.
void draw_row(const float* logits, int64_t size, float scale, bool greedy, float uniform, int64_t* id, float* logprob) {
    Vec most = all(-INFINITY), total{};
    int64_t i = 0;
    bool finite = true;
    for (; i + LANES <= size; i += LANES) {
        Vec x = load(logits + i);
        most = x > most ? x : most;
    }
    float top = largest(most);
    for (; i < size; i++) top = std::max(top, logits[i]);
    const int64_t whole = size / LANES * LANES;
    for (i = 0; i < whole; i += LANES) total += exponential((load(logits + i) - top) * scale);
    float mass = sum(total);
    auto weight = [&](int64_t j) { return exponential(all((logits[j] - top) * scale))[0]; };
    for (i = whole; i < size; i++) mass += weight(i);
    finite = std::isfinite(top) && std::isfinite(mass);
    if (!finite) {
        *id = -1, *logprob = NAN;
        return;
    }
    int64_t chosen = -1, likeliest = 0;
    if (!greedy) {
        const float target = uniform * mass;
        float before = 0;
        for (i = 0; i < whole; i += LANES) {
            const float here = sum(exponential((load(logits + i) - top) * scale));
            if (before + here > target) break;
            before += here;
        }
        for (; i < size && chosen < 0; i++) {
            const float w = weight(i);
            before += w;
            if (w > 0 && before > target) chosen = i;
        }
    }
    if (chosen < 0) {  // greedy, or rounding left nothing beyond the target
        while (logits[likeliest] != top) likeliest++;
        chosen = likeliest;
    }
    *id = chosen;
    *logprob = (logits[chosen] - top) * scale - std::log(mass);
}

}  // namespace

extern "C" {

int64_t amenable_scratch_bytes(const Model* m, const Cache* c, int64_t rows, int64_t threads) {
    const Layer& l = m->layers[0];
    const int64_t width = up_to(m->hidden, BLOCK), att = m->heads * m->head_dim;
    const int64_t per_row = (2 * width + l.qkv.blocks * BLOCK + att + l.down.inner) * 4;
    return rows * per_row + threads * up_to(c->max_tokens, LANES) * 4 + 6 * 64;
}

void amenable_forward(const Model* m, const Cache* c, const Batch* b) {
    if (m->kind == 0) pass<Float>(*m, *c, *b);
    if (m->kind == 1) pass<Half>(*m, *c, *b);
    if (m->kind == 2) pass<Byte>(*m, *c, *b);
}

void amenable_pack(const void* from, int64_t from_half, int64_t outputs, int64_t inner, int64_t to_half, void* to,
                   int64_t threads) {
    in_parallel(threads, [&](int64_t thread, int64_t count) {
        const auto *floats = (const float*)from;
        const auto *halves = (const uint16_t*)from;
        if (from_half && to_half) to_blocks(halves, outputs, inner, (uint16_t*)to, thread, count);
        if (from_half && !to_half) to_blocks(halves, outputs, inner, (float*)to, thread, count);
        if (!from_half && to_half) to_blocks(floats, outputs, inner, (uint16_t*)to, thread, count);
        if (!from_half && !to_half) to_blocks(floats, outputs, inner, (float*)to, thread, count);
    });
}

// of bytes in a place that is a multiple of 2: two running sums per lane, so that order counts
void amenable_checksum(const uint16_t* at, int64_t bytes, uint64_t* out) {
    typedef uint64_t Words __attribute__((vector_size(64)));
    typedef uint64_t WordsAt __attribute__((vector_size(64), aligned(2), may_alias));
    Words a{}, b{};
    const int64_t whole = bytes / 64 * 64;
    for (int64_t i = 0; i < whole; i += 64) {
        a += *(const WordsAt*)((const char*)at + i);
        b += a;
    }
    for (int64_t i = whole / 2; i < bytes / 2; i++) {
        a[i % 8] += at[i];
        b[i % 8] += a[i % 8];
    }
    uint64_t total = 0;
    for (int i = 0; i < 8; i++) total = (total * 0x9E3779B97F4A7C15u + a[i]) * 0xBF58476D1CE4E5B9u + b[i];
    *out = total;
}

void amenable_draw(const float* logits, int64_t stride, int64_t rows, int64_t size, const float* scale,
                   const uint8_t* greedy, const float* uniform, int64_t* ids, float* logprobs, int64_t threads) {
    in_parallel(threads, [&](int64_t thread, int64_t count) {
        const Share mine(rows, thread, count);
        for (int64_t r = mine.begin; r < mine.end; r++)
            draw_row(logits + r * stride, size, scale[r], greedy[r], uniform[r], ids + r, logprobs + r);
    });
}
}
