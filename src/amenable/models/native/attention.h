// Attention within documents that stand end to end in one row: queries and keys turned by their positions' angles, scores
// of no key that comes after its query, softmax and the weighted mean of values; forward and backward.
//
// One document and one key-value head at a time. Scores exist for TILE queries at once and never leave the cache; the
// backward pass computes them again from the kept log of each query's sum of exponentials (Dao et al. 2022).
// With P = softmax(S), O = P V: dV = Pᵀ dO; dS = P (dP - Σ dO O), dP = dO Vᵀ; dQ = dS K; dK = dSᵀ Q.

#pragma once

#include "tiles.h"

namespace {

struct Attention {
    int64_t documents;
    const int64_t *starts, *lengths;  // in the row of `tokens` tokens
    int64_t tokens, heads, kv_heads, dim, window, half;  // window: keys that a query looks back at, itself included; 0: all
    double scale;
    const float *cosine, *sine;  // (tokens, dim / 2), or null
    const void *query, *key, *value;  // (tokens, heads * dim), rows query_stride and key_stride numbers apart
    int64_t query_stride, key_stride;
    void* out;    // (tokens, heads * dim)
    float* logs;  // (heads, tokens), or null
    const void* d_out;
    void *d_query, *d_key, *d_value;  // (tokens, heads * dim), rows d_query_stride and d_key_stride numbers apart
    int64_t d_query_stride, d_key_stride;
    int64_t threads;
};

constexpr int64_t MOST_DIM = 256;
constexpr int64_t CHUNK = 8 * TILE;  // queries whose weights are kept for the gradients of keys and values

struct Room {  // scratch memory of one thread, taken piece by piece
    static thread_local std::vector<char> memory;
    int64_t used = 0;
    bool counting;
    explicit Room(int64_t bytes) : counting(!bytes) {
        if ((int64_t)memory.size() < bytes + 64) memory.resize(bytes + 64);
    }
    template <class X>
    X* take(int64_t count) {
        char* at = memory.data() + (64 - (uintptr_t)memory.data() % 64) % 64 + used;
        used += up_to(count * sizeof(X), 64);
        return counting ? nullptr : (X*)at;
    }
};
thread_local std::vector<char> Room::memory;

template <class T>
struct Document {
    using Act = typename T::Act;
    const Attention& a;
    const int64_t start, length, dim;
    const int64_t queries, keys, width, words;  // lengths rounded up to whole tiles; words of a row

    Document(const Attention& a, int64_t document)
        : a(a), start(a.starts[document]), length(a.lengths[document]), dim(a.dim), queries(up_to(length, TILE)),
          keys(up_to(queries, WIDE)), width(up_to(dim, WIDE)), words(blocks(dim, T::UNIT)) {}

    int64_t first(int64_t query) const { return a.window ? std::max<int64_t>(0, query - a.window + 1) : 0; }

    // `rows` rows of `width` numbers: a head of the document's tokens, zeros behind them
    void gather(const void* from, int64_t stride, int64_t head, int64_t rows, Act* to) const {
        const Act* row = (const Act*)from + start * stride + head * dim;
        if (width > dim) std::memset(to, 0, length * width * sizeof(Act));
        for (int64_t p = 0; p < length; p++)
            for (int64_t i = 0; i < dim; i += 64 / (int64_t)sizeof(Act)) copy(to + p * width + i, row + p * stride + i, dim - i);
        std::memset(to + length * width, 0, (rows - length) * width * sizeof(Act));
    }

    // The same, each turned by its position's angle.
    void gather(const void* from, int64_t stride, int64_t head, int64_t rows, Act* to, float scale) const {
        gather(from, stride, head, rows, to);
        for (int64_t p = 0; p < length; p++) turn(to + p * width, to + p * width, p, scale, 1.0f);
    }

    // x times scale, turned by its position's angle (side 1) or back (-1)
    template <class From, class To>
    void turn(const From* x, To* to, int64_t position, float scale, float side) const {
        const int64_t pairs = dim / 2;
        if (!a.cosine) {
            for (int64_t i = 0; i < dim; i += LANES) put(to + i, load(x + i, dim - i) * scale, dim - i);
            return;
        }
        const float *cosine = a.cosine + (start + position) * pairs, *sine = a.sine + (start + position) * pairs;
        for (int64_t i = 0; i < pairs; i += LANES) {
            const int64_t left = pairs - i;
            const Vec c = load(cosine + i, left) * scale, s = load(sine + i, left) * (scale * side);
            const Vec u = load(x + i, left), v = load(x + pairs + i, left);
            put(to + i, u * c - v * s, left);
            put(to + pairs + i, v * c + u * s, left);
        }
    }

    Act* place(void* of, int64_t stride, int64_t position, int64_t head) const {
        return (Act*)of + (start + position) * stride + head * dim;
    }

    // Rows as columns of a right matrix: [block of 32 rows][word][32].
    void transpose(const Act* rows, int64_t count, Word* to) const {
        const int64_t stride = width / T::UNIT;
        const Word* from = (const Word*)rows;
        for (int64_t row = 0; row < count; row += LANES)
            for (int64_t w = 0; w < words; w += LANES) {
                Bits x[LANES];
                for (int i = 0; i < LANES; i++) x[i] = *(const BitsAt*)(from + (row + i) * stride + w);
                turn_over(x);
                Word* at = to + row / WIDE * words * WIDE + row % WIDE;
                for (int64_t i = 0; i < std::min<int64_t>(LANES, words - w); i++) *(BitsAt*)(at + (w + i) * WIDE) = x[i];
            }
    }

    // Rows as what a right matrix sums over: [block of 32 numbers][word of rows][32].
    void interleave(const Act* rows, int64_t count, Word* to) const {
        for (int64_t i = 0; i < width; i += LANES) {
            Word* at = to + i / WIDE * (count / T::UNIT) * WIDE + i % WIDE;
            for (int64_t row = 0; row < count; row += T::UNIT, at += WIDE)
                *(BitsAt*)at = T::joined(rows + row * width + i, width);
        }
    }
};

template <class T>
void attend_head(const Attention& a, int64_t document, int64_t kv_head) {
    using Act = typename T::Act;
    const Document<T> h(a, document);
    const int64_t group = a.heads / a.kv_heads;
    Act *rows, *weights;
    Word *keys, *values;
    float* scores;
    auto lay = [&](Room room) {
        rows = room.take<Act>(h.keys * h.width);
        keys = room.take<Word>(h.keys * h.words), values = room.take<Word>(h.keys * h.width);
        scores = room.take<float>(TILE * h.keys), weights = room.take<Act>(TILE * h.keys);
        return room.used;
    };
    lay(Room(lay(Room(0))));
    h.gather(a.key, a.key_stride, kv_head, h.keys, rows, 1.0f);
    h.transpose(rows, h.keys, keys);
    h.gather(a.value, a.key_stride, kv_head, h.keys, rows);
    h.interleave(rows, h.keys, values);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        h.gather(a.query, a.query_stride, head, h.queries, rows, (float)a.scale);
        for (int64_t query = 0; query < h.length; query += TILE) {
            const int64_t low = h.first(query) / WIDE * WIDE, high = std::min(up_to(query + TILE, WIDE), h.keys);
            for (int64_t key = low; key < high; key += WIDE) {
                Vec s[TILE][2] = {};
                multiply<T>((const Word*)(rows + query * h.width), h.width / T::UNIT, 1, h.words, keys + key * h.words, s);
                EACH_ROW
                    store(scores + r * h.keys + key, s[r][0]), store(scores + r * h.keys + key + LANES, s[r][1]);
            }
            float inverse[TILE];
            for (int r = 0; r < TILE; r++) {
                const int64_t begin = h.first(query + r), end = std::min(query + r + 1, h.keys);
                float* x = scores + r * h.keys;
                Vec most = all(-INFINITY), total{};
                for (int64_t key = low; key < high; key += LANES) {
                    const Vec s = within(load(x + key), key, begin, end);
                    store(x + key, s);
                    most = larger(s, most);
                }
                const float top = largest(most);
                for (int64_t key = low; key < high; key += LANES) {
                    const Vec e = to_e(load(x + key) - top);
                    put(weights + r * h.keys + key, e);
                    total += e;
                }
                const float mass = total_of(total);
                inverse[r] = 1.0f / mass;
                if (a.logs && query + r < h.length) a.logs[head * a.tokens + h.start + query + r] = top + std::log(mass);
            }
            for (int64_t i = 0; i < h.width; i += WIDE) {
                Vec s[TILE][2] = {};
                multiply<T>((const Word*)(weights + low), h.keys / T::UNIT, 1, (high - low) / T::UNIT,
                            values + i / WIDE * (h.keys / T::UNIT) * WIDE + low / T::UNIT * WIDE, s);
                const int64_t some = std::min<int64_t>(TILE, h.length - query);
                EACH_ROW {
                    if (r >= some) break;
                    Act* out = (Act*)a.out + (h.start + query + r) * a.heads * h.dim + head * h.dim + i;
                    put(out, s[r][0] * inverse[r], h.dim - i);
                    if (h.dim - i > LANES) put(out + LANES, s[r][1] * inverse[r], h.dim - i - LANES);
                }
            }
        }
    }
}

// out (TILE rows of 32 numbers, `width` apart) += left @ right
template <class T>
void add_product(const Word* left, int64_t step, int64_t words, const Word* right, float* out, int64_t width) {
    Vec s[TILE][2];
    EACH_ROW s[r][0] = load(out + r * width), s[r][1] = load(out + r * width + LANES);
    multiply<T>(left, 1, step, words, right, s);
    EACH_ROW store(out + r * width, s[r][0]), store(out + r * width + LANES, s[r][1]);
}

template <class T>
void attend_head_back(const Attention& a, int64_t document, int64_t kv_head) {
    using Act = typename T::Act;
    const Document<T> h(a, document);
    const int64_t group = a.heads / a.kv_heads, stride = h.width / T::UNIT, ld = h.keys;
    Act *rows, *d_rows, *d_scores;
    Word *keys, *keys_summed, *values, *queries_summed, *d_out_summed, *weights_over, *d_scores_over;
    float *d_key, *d_value, *logs, *dots, *scores;
    auto lay = [&](Room room) {
        rows = room.take<Act>(h.keys * h.width);
        d_rows = room.take<Act>(h.queries * h.width);
        keys = room.take<Word>(h.keys * h.words), values = room.take<Word>(h.keys * h.words);
        keys_summed = room.take<Word>(h.keys * h.width);
        queries_summed = room.take<Word>(h.queries * h.width), d_out_summed = room.take<Word>(h.queries * h.width);
        weights_over = room.take<Word>(CHUNK * ld), d_scores_over = room.take<Word>(CHUNK * ld);
        d_scores = room.take<Act>(TILE * ld), scores = room.take<float>(TILE * WIDE);
        d_key = room.take<float>(h.queries * h.width), d_value = room.take<float>(h.queries * h.width);
        logs = room.take<float>(h.queries), dots = room.take<float>(h.queries);
        return room.used;
    };
    lay(Room(lay(Room(0))));
    std::fill_n(d_key, h.queries * h.width, 0.0f), std::fill_n(d_value, h.queries * h.width, 0.0f);
    h.gather(a.value, a.key_stride, kv_head, h.keys, rows);
    h.transpose(rows, h.keys, values);
    h.gather(a.key, a.key_stride, kv_head, h.keys, rows, 1.0f);
    h.transpose(rows, h.keys, keys);
    h.interleave(rows, h.keys, keys_summed);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        h.gather(a.out, a.heads * h.dim, head, h.queries, rows);
        h.gather(a.d_out, a.heads * h.dim, head, h.queries, d_rows);
        for (int64_t p = 0; p < h.queries; p++) {
            Vec dot{};
            for (int64_t i = 0; i < h.width; i += LANES) dot += load(rows + p * h.width + i) * load(d_rows + p * h.width + i);
            dots[p] = total_of(dot);
            logs[p] = p < h.length ? a.logs[head * a.tokens + h.start + p] : INFINITY;
        }
        h.interleave(d_rows, h.queries, d_out_summed);
        h.gather(a.query, a.query_stride, head, h.queries, rows, (float)a.scale);
        h.interleave(rows, h.queries, queries_summed);
        for (int64_t chunk = 0; chunk < h.length; chunk += CHUNK) {
            const int64_t chunk_end = std::min(chunk + CHUNK, h.queries);
            const int64_t lowest = h.first(chunk) / WIDE * WIDE / TILE * TILE;
            for (int64_t query = chunk; query < chunk_end; query += TILE) {
                const int64_t low = h.first(query) / WIDE * WIDE, high = std::min(up_to(query + TILE, WIDE), h.keys);
                const int64_t at = (query - chunk) / T::UNIT * ld;
                for (int64_t unit = 0; low > lowest && unit < TILE / T::UNIT; unit++) {
                    std::memset(weights_over + at + unit * ld + lowest, 0, (low - lowest) * 4);
                    std::memset(d_scores_over + at + unit * ld + lowest, 0, (low - lowest) * 4);
                }
                for (int64_t key = low; key < high; key += WIDE) {
                    Vec s[TILE][2] = {}, d[TILE][2] = {};
                    multiply<T>((const Word*)(rows + query * h.width), stride, 1, h.words, keys + key * h.words, s);
                    EACH_ROW
                        store(scores + r * WIDE, s[r][0]), store(scores + r * WIDE + LANES, s[r][1]);
                    multiply<T>((const Word*)(d_rows + query * h.width), stride, 1, h.words, values + key * h.words, d);
#pragma GCC unroll 12
                    for (int r = 0; r < TILE; r += 2)
#pragma GCC unroll 2
                        for (int half = 0; half < 2; half++) {
                            Vec p[2], ds[2];
                            const int64_t k = key + half * LANES;
                            for (int i = 0; i < 2; i++) {
                                const int64_t q = query + r + i;
                                const Vec x = load(scores + (r + i) * WIDE + half * LANES) - logs[q];
                                p[i] = to_e(within(x, k, h.first(q), q + 1));
                                ds[i] = p[i] * (d[r + i][half] - dots[q]);
                                put(d_scores + (r + i) * ld + k, ds[i]);
                            }
                            T::put_rows(weights_over + at + r / T::UNIT * ld + k, ld, p[0], p[1]);
                            T::put_rows(d_scores_over + at + r / T::UNIT * ld + k, ld, ds[0], ds[1]);
                        }
                }
                alignas(64) float d_query[TILE][MOST_DIM];
                for (int64_t i = 0; i < h.width; i += WIDE) {
                    Vec s[TILE][2] = {};
                    multiply<T>((const Word*)(d_scores + low), ld / T::UNIT, 1, (high - low) / T::UNIT,
                                keys_summed + i / WIDE * (h.keys / T::UNIT) * WIDE + low / T::UNIT * WIDE, s);
                    EACH_ROW
                        store(d_query[r] + i, s[r][0]), store(d_query[r] + i + LANES, s[r][1]);
                }
                for (int r = 0; r < std::min<int64_t>(TILE, h.length - query); r++)
                    h.turn(d_query[r], h.place(a.d_query, a.d_query_stride, query + r, head), query + r, (float)a.scale, -1.0f);
            }
            for (int64_t key = lowest; key < chunk_end; key += TILE) {
                const int64_t from = std::max(chunk, key), units = (chunk_end - from) / T::UNIT;
                const int64_t at = (from - chunk) / T::UNIT * ld + key;
                for (int64_t i = 0; i < h.width; i += WIDE) {
                    const int64_t right = (i / WIDE * (h.queries / T::UNIT) + from / T::UNIT) * WIDE;
                    add_product<T>(weights_over + at, ld, units, d_out_summed + right, d_value + key * h.width + i, h.width);
                    add_product<T>(d_scores_over + at, ld, units, queries_summed + right, d_key + key * h.width + i, h.width);
                }
            }
        }
    }
    for (int64_t p = 0; p < h.length; p++) {
        h.turn(d_key + p * h.width, h.place(a.d_key, a.d_key_stride, p, kv_head), p, 1.0f, -1.0f);
        Act* to = h.place(a.d_value, a.d_key_stride, p, kv_head);
        for (int64_t i = 0; i < h.dim; i += LANES) put(to + i, load(d_value + p * h.width + i), h.dim - i);
    }
}

template <class Work>
void each_head(const Attention& a, const Work& work) {
    each(a.documents * a.kv_heads, a.threads, [&](int64_t i) { work(i / a.kv_heads, i % a.kv_heads); });
}

}  // namespace
