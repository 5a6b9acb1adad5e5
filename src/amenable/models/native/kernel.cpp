// Forward pass of a decoder over tokens that continue running texts, and the draw of their next tokens.
//
// Prefill and decode are one function: N tokens, each with a position and a slot of the key-value cache, packed
// without padding. A token's numbers never depend on which other tokens are in the call: every sum runs in an order
// that follows from the token's own text, so a response is the same to the last bit alone and in company.
//
// products.h says how weights are stored; where they are bfloat16 (Half), keys and values are too.
// Keys lie in blocks of 16 positions, [block][head_dim][16], so that 16 scores are computed at once.

#ifdef _OPENMP
#include <omp.h>
#endif

#include "products.h"

namespace {

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

// The processor's own prefetching begins anew with each head of each text and is slow to: of what is read next, the beginning is
// fetched into the cache while something else is computed.
constexpr int64_t FETCHED = 16;  // blocks of 16 positions

// Scores of N blocks of 16 positions. ahead, soon: what is read after them, as many numbers each.
template <int N, class Kept>
void scores_of(const float* query, const Kept* keys, int64_t dim, const Kept* ahead, const Kept* soon, float* scores) {
    Vec s[N] = {};
    for (int64_t d = 0; d < dim; d++) {
        const int64_t at = d * N * LANES;
        for (int64_t i = 0; i < N * LANES; i += 64 / (int64_t)sizeof(Kept))
            __builtin_prefetch(ahead + at + i), __builtin_prefetch(soon + at + i);
        for (int n = 0; n < N; n++) s[n] += query[d] * load(keys + (n * dim + d) * LANES);
    }
    for (int n = 0; n < N; n++) store(scores + n * LANES, s[n]);
}

// N vectors of the weighted mean of values. soon: as above.
template <int N, class Kept, class In>
void values_of(const float* weights, float inverse, const Kept* values, int64_t stride, int64_t begin, int64_t end,
               const Kept* soon, In* out, int64_t keep) {
    Vec s[N] = {};
    for (int64_t p = begin; p < end; p++) {
        const Kept* then = soon + std::min(p, begin + FETCHED * LANES) * stride;
        for (int64_t i = 0; i < N * LANES; i += 64 / (int64_t)sizeof(Kept)) __builtin_prefetch(then + i);
        for (int n = 0; n < N; n++) s[n] += weights[p] * load(values + p * stride + n * LANES);
    }
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
            const Kept* next, float* scores, In* out) {
    const int64_t first = begin / LANES, last = (end + LANES - 1) / LANES, stride = up_to(dim, LANES);
    int64_t b = first;
    auto score = [&](auto scores_of, int64_t count) {
        const Kept *these = keys + b * LANES * dim, *ahead = these + count * LANES * dim;
        scores_of(query, these, dim, ahead, b - first < FETCHED ? values + b * LANES * stride : ahead, scores + b * LANES);
        b += count;
    };
    while (b + 4 <= last) score(scores_of<4, Kept>, 4);
    while (b < last) score(scores_of<1, Kept>, 1);
    for (int64_t p = first * LANES; p < begin; p++) scores[p] = -INFINITY;
    for (int64_t p = end; p < last * LANES; p++) scores[p] = -INFINITY;
    Vec most = load(scores + first * LANES), total{};
    for (b = first + 1; b < last; b++) {
        Vec x = load(scores + b * LANES);
        most = larger(x, most);
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
        values_of<4>(scores, inverse, values + d, stride, begin, end, next + d, out + d, dim - d);
    for (; d + 2 * LANES <= stride; d += 2 * LANES)
        values_of<2>(scores, inverse, values + d, stride, begin, end, next + d, out + d, dim - d);
    for (; d < stride; d += LANES) values_of<1>(scores, inverse, values + d, stride, begin, end, next + d, out + d, dim - d);
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

    // next: the row and head whose turn it is then
    void look(const Layer& l, int64_t layer, int64_t row, int64_t kv_head, int64_t next, float* mine) const {
        const int64_t dim = m.head_dim, end = b.positions[row] + 1;
        const int64_t begin = l.window ? std::max<int64_t>(0, end - l.window) : 0;
        const int64_t at = ((layer * c.slots + b.slots[row]) * m.kv_heads + kv_head) * c.max_tokens;
        const int64_t then = ((layer * c.slots + b.slots[next / m.kv_heads]) * m.kv_heads + next % m.kv_heads) * c.max_tokens;
        for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++)
            attend(qkv + row * qkv_width + h * dim, (const Kept*)c.keys + at * dim, (const Kept*)c.values + at * stride,
                   begin, end, dim, (const Kept*)c.keys + then * dim, mine, att + row * att_width + h * dim);
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
            for (int64_t j = heads.begin; j < heads.end; j++) 
                look(l, i, j / m.kv_heads, j % m.kv_heads, std::min(j + 1, heads.end - 1), own_scores);
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
        most = larger(x, most);
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
