// Products of a few rows with a matrix.
//
// Matrices are stored in blocks of 32 outputs, [block][input][32], so that a tile of up to ROWS tokens by 32 outputs
// stays in registers while the weights stream by once. The three ways to store a weight:
//   Float   float32
//   Half    bfloat16, two inputs side by side; activations are rounded to bfloat16 at each product, sums are float32
//   Byte    int8 with one scale per output; activations stay float32

#pragma once

#include "vectors.h"

namespace {

constexpr int BLOCK = 32;
#ifdef __AVX512F__
constexpr int ROWS = 12;  // 24 of 32 registers hold sums
#else
constexpr int ROWS = 3;
#endif
constexpr int64_t SLAB = 4 * 12;  // tokens per unit of work: their inputs stay in the second-level cache

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

}  // namespace
